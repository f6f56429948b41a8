# A program of the image that unpacks itself, and runs that.
mkdir -p /scratch && export TMPDIR=/scratch
while more; do
    equal packed "A=$rounds" "$(/opt/app/bin/packed-env -i "A=$rounds")"
done
