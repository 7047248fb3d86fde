#!/bin/sh
# Makes the secrets that compose.yaml reads, once: sh deploy/secrets.sh [FOLDER]. The default is ./secrets.
# The folder is its owner's alone. The files in it can be read by all, because the processes in the containers
# run as another user, and a file is mounted as it is.
set -eu
umask 077
folder=${1:-secrets}
if [ -e "$folder" ]; then
    echo "$folder exists already. Nothing was changed." >&2
    exit 1
fi
mkdir -p "$folder"
random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }
write() { printf '%s\n' "$2" >"$folder/$1" && chmod 444 "$folder/$1"; }
database=$(random 30)
queue=$(random 30)
write database_password "$database"
write database_url "postgresql+psycopg://twins:$database@db/twins"
write queue_password "$queue"
write queue_url "redis://:$queue@queue:6379/0"
write secret_key "$(random 48)"
write fernet_keys "$(random 32)"
echo "Made $folder. Keep a copy of $folder/fernet_keys apart from the backups of the database."
