# Makes the inside of a machine, and becomes its PID 1. Run by machine.py with sh, in fresh mount, pid, uts, ipc and cgroup
# namespaces, so that nothing mounted here is ever seen by the host and all of it ends with PID 1.
#   LOWER UPPER WORK ROOT   the overlay, mounted here and not outside for the same reason
#   NAME                    host name
#   CGROUPS                 lines of: folder, type, options; empty for a machine without control groups
# Says "ready" on stdout when only the exec is left, and waits for a line, while the owner moves processes between groups.
set -e
hostname "$NAME"
R=$ROOT
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$R"
mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
# The kernel's settings and sysrq belong to the host: systemd-sysctl and procps would change them. As systemd-nspawn does.
for f in sys sysrq-trigger; do
    [ -e "$R/proc/$f" ] || continue
    mount --bind "$R/proc/$f" "$R/proc/$f"
    mount -o remount,bind,ro,nosuid,nodev,noexec "$R/proc/$f"
done
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$R/sys"
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"
mkdir "$R/dev/pts" "$R/dev/shm"
for d in null zero full random urandom tty; do
    : > "$R/dev/$d"
    mount --bind "/dev/$d" "$R/dev/$d"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"
ln -s fd/1 "$R/dev/stdout"
ln -s fd/2 "$R/dev/stderr"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$R/run"
mkdir -m 1777 "$R/run/lock"

C=$R/sys/fs/cgroup
case $CGROUPS in
"") ;;
.*) mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$C" ;;
*)
    mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$C"
    while read -r folder type options; do
        mkdir "$C/$folder"
        mount -t "$type" -o "nosuid,nodev,noexec,$options" "$type" "$C/$folder"
    done <<EOF
$CGROUPS
EOF
    ;;
esac

[ "$NETWORK" = host ] || ip link set lo up
mkdir "$R/run/.old"
cd "$R"
pivot_root . run/.old
cd /
umount -l /run/.old
rmdir /run/.old
echo ready
read -r go
unset LOWER UPPER WORK ROOT NAME CGROUPS NETWORK R C PWD OLDPWD
exec "$@" </dev/null >&2
