# Stages 16-17 of a2m.sh, to be sourced there: packed models and their upload.
# shellcheck shell=bash disable=SC2154  # a2m.sh sets the names

asr_archive=${asr_exp}/${asr_tag}.zip
ssl_archive=${ssl_exp}/${ssl_tag}_ssl.zip

pack() {  # ARCHIVE TASK CONFIG MODEL: for ESPnet's unpack
    "${python}" -m espnet_a2m.bin.pack "$2" --config "$3" --model_file "$4" --outpath "$1" \
        --inference_config "${inference_config}" --inference_args="${inference_args}"
}

if [ -n "${train_set}" ] && want 16 "packing: ${asr_archive}"; then
    need "${asr_exp}/${inference_asr_model}" 13
    pack "${asr_archive}" asr "${asr_exp}/config.yaml" "${asr_exp}/${inference_asr_model}"
fi

if [ "${pack_ssl}" = true ] && want 16 "export and packing: ${ssl_archive}"; then
    need "${ssl_exp}/.made" 11
    find_model "${ssl_exp}" "${inference_ssl_model}" 11
    step "${ssl_exp}/export" "${model}" "${ssl_exp}/config.yaml" -- \
        "${python}" -m espnet_a2m.bin.export --model_file "${model}" \
        --output_dir "${ssl_exp}/export"
    pack "${ssl_archive}" ssl "${ssl_exp}/export/config.yaml" "${ssl_exp}/export/model.pth"
fi

if want 17 "upload to the Hugging Face Hub: ${hf_repo}"; then
    need "${asr_archive}" 16
    "${python}" -m espnet_a2m.bin.upload_hf --archive "${asr_archive}" --repo "${hf_repo}" \
        --outdir "${expdir}/hf_${hf_repo//\//_}"
fi
