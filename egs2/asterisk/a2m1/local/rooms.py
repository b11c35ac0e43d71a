"""Simulate a talker in a room with babble, reproducibly for each utterance."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

FS = 16000
RT60 = (0.3, 0.6)  # seconds
DISTANCE = (1.0, 4.0)  # metres from the talker to the microphone
SNR = (5.0, 15.0)  # dB, reverberant speech over reverberant babble
TALKERS = 3  # in the babble, each of another language
WALL = 0.4  # metres kept free
MAX_ORDER = 45  # of reflections: 350-500 ms of impulse response, as 1 s costs 20 times


def generator(name: str) -> np.random.Generator:
    """A random generator that depends on `name` alone."""
    digest = hashlib.sha256(f"room {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def rms(samples: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples)) + 1e-20))


def babble_track(
    prompts: list[np.ndarray], length: int, rng: np.random.Generator
) -> np.ndarray:
    """One talker of the babble: prompts in random order from a random point, (length,).

    Args:
        prompts: float samples of prompts of one talker.
        length: in samples.
        rng: draws the order and the start.
    """
    order = rng.permutation(len(prompts))
    track = np.concatenate([prompts[i] for i in order])
    start = int(rng.integers(len(track)))
    track = np.resize(np.roll(track, -start), length)
    return track / rms(track)


def draw_room(rng: np.random.Generator) -> tuple[np.ndarray, float, np.ndarray]:
    """Room size, RT60 and positions: (3,), seconds, (1 + 1 + TALKERS, 3) metres.

    Positions: the microphone, the talker, then the babble's talkers.
    """
    size = np.array([rng.uniform(5, 8), rng.uniform(4, 6), rng.uniform(2.5, 3.2)])
    rt60 = rng.uniform(*RT60)
    while True:
        distance = rng.uniform(*DISTANCE)
        low, high = np.full(3, WALL), size - WALL
        low[2], high[2] = 0.8, 1.8
        places = rng.uniform(low, high, (2 + TALKERS, 3))
        angle = rng.uniform(0, 2 * np.pi)
        flat = np.sqrt(max(distance**2 - (places[1, 2] - places[0, 2]) ** 2, 0.0))
        places[1, :2] = places[0, :2] + flat * np.array([np.cos(angle), np.sin(angle)])
        apart = np.linalg.norm(places[2:] - places[0], axis=1)
        inside = bool(np.all(places[1] >= low) and np.all(places[1] <= high))
        if inside and apart.min() > DISTANCE[0]:
            return size, rt60, places


def simulate(
    name: str, clean: np.ndarray, babble: Mapping[str, list[np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Put a prompt and babble into a room drawn for `name`.

    Returns the reverberant talker, aligned with the clean prompt, and the reverberant
    babble at a drawn level: (n,) float64.

    Args:
        name: seed, so that the order of the utterances does not matter.
        clean: (n,) float samples of the prompt.
        babble: float samples of prompts by language.
    """
    import pyroomacoustics as pra
    from scipy.signal import fftconvolve

    rng = generator(name)
    size, rt60, places = draw_room(rng)
    absorption, order = pra.inverse_sabine(rt60, size)
    room = pra.ShoeBox(
        size,
        fs=FS,
        materials=pra.Material(absorption),
        max_order=min(order, MAX_ORDER),
    )
    room.add_microphone(places[0])
    for place in places[1:]:
        room.add_source(place)
    room.compute_rir()
    responses = room.rir[0]
    distance = float(np.linalg.norm(places[1] - places[0]))
    # The direct sound arrives after this; cut it off to stay aligned with the prompt.
    delay = (
        round(distance / pra.constants.get("c") * FS)
        + pra.constants.get("frac_delay_length") // 2
    )
    n = len(clean)
    speech = fftconvolve(clean, responses[0])[delay : delay + n]
    speech = speech * (rms(clean) / rms(speech))
    noise = np.zeros(n)
    languages = rng.permutation(sorted(babble))[:TALKERS]
    for language, response in zip(languages, responses[1:], strict=True):
        # Longer than n at first, so that the babble reverberates from the start.
        track = babble_track(babble[language], n + len(response), rng)
        noise += fftconvolve(track, response)[len(response) : len(response) + n]
    snr = float(rng.uniform(*SNR))
    noise *= rms(speech) / rms(noise) * 10 ** (-snr / 20)
    return speech, noise


def mix(speech: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The sum as (n,) int16, attenuated where it would clip."""
    both = speech + noise
    peak = np.abs(both).max(initial=1e-9)
    return np.rint(both * min(1.0, 0.95 / peak) * 32767).astype(np.int16)
