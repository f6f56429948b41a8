# An archive of the image that unpacks itself, and runs what it has unpacked.
mkdir -p /scratch && export TMPDIR=/scratch
while more; do
    equal packed 'answer 5' "$(/opt/app/bin/packed.run --quiet --nox11 2>/dev/null)"
done
