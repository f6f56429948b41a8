export GNUPGHOME=/scratch/keys
mkdir -p -m 700 $GNUPGHOME && cd /scratch
gpg -q --batch --passphrase '' --quick-generate-key t@example.com ed25519 sign never 2>/dev/null
while more; do
    echo "$rounds" >text
    gpg -q --batch --yes --detach-sign text 2>/dev/null
    equal verified 0 "$(gpg -q --verify text.sig text 2>/dev/null; echo $?)"
    equal symmetric "$rounds" "$(gpg -q --batch --passphrase x -c <text 2>/dev/null | gpg -q --batch --passphrase x -d 2>/dev/null)"
    gpgconf --kill gpg-agent
done
