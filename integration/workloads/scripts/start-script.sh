mkdir -p /scratch
while more; do
    printf '#!/bin/sh\necho "started %s"\n' "$rounds" >/scratch/start.sh
    chmod +x /scratch/start.sh
    equal started "started $rounds" "$(/scratch/start.sh)"
done
