"""What to do about each error, beyond the hint that it brings; a test holds that no code is without advice."""

from __future__ import annotations

ADVICE = {
    "E-FAILED": "Read the message and the hint; `manylab doctor` looks for causes, `manylab logs` has what came "
    "before.",
    "E-CONFIG": "Correct the places that are listed; `manylab config check` looks again and changes nothing. Names "
    "and values are in [settings](settings.md).",
    "E-BAD-NAME": "Choose a name that follows the rule in the hint. manylab never changes a name on its own.",
    "E-PORT-TAKEN": "Stop the program that is named, or choose another port: `manylab config set http.port 8001`, then "
    "`manylab apply`.",
    "E-NEEDS-ROOT": "Type what the hint says. A site of your own needs no root: `manylab up`, with `--own` where "
    "root has one.",
    "E-LOCKED": "Wait until the other command is done, and try again. The lock ends with its process and never needs "
    "to be removed by hand.",
    "E-COMMAND": "The output of the program says what it did not like; the message has its first lines, `--json` all.",
    "E-NOT-CONVERGED": "Something works against manylab: another tool that manages the same file, a read-only file "
    "system, a full disk. `manylab plan` shows what is still different; put that right and `manylab apply` again.",
    "E-ENV": "The environment that people use is untouched. Check the packages that the message names: `sudo manylab "
    "env show default` lists what is installed, `sudo manylab env add default PACKAGE --dry-run` only solves.",
    "E-DOWNLOAD": "Check the network, the proxy and the mirrors ([mirrors] in [settings](settings.md)), and try again: "
    "what was downloaded is kept.",
    "E-BUNDLE": "Nothing was changed. Compare the file's sha256 with that of the original; a bundle is for one kind of "
    "machine and one Python, which the message names.",
    "E-ADVISORIES": "This says nothing about the packages, good or bad. `manylab env audit` asks the public package "
    "index, or a mirror that has its JSON interface; set `mirrors.proxy` or `HTTPS_PROXY` where it is not reached "
    "directly.",
    "E-DISK-FULL": "`df -h` shows which disk; `manylab doctor` names what is large. Free some space and run the same "
    "command again: nothing was lost, and what was half made is made again.",
    "E-UNHEALTHY": "The site runs as before the change. `manylab logs` says why the new one did not answer. Correct "
    "manylab.toml and `manylab apply` again; `manylab rollback` puts the file back as it was when it worked.",
    "E-NOT-FOUND": "Look at what there is: `manylab user list`, `manylab env list`, `manylab history`, `manylab config "
    "show`.",
    "E-NOT-INSTALLED": "Serve in the foreground with `manylab up`, or make it a service with `manylab install`.",
    "E-RUNNING": "Use the site that is running (`manylab status` has its address), or stop it first: `manylab stop`, "
    "or Ctrl-C where it was started.",
    "E-WARDEN": "`manylab status` says whether the warden runs, `manylab logs` why not; `manylab restart` starts it "
    "again. People's running servers go on meanwhile.",
    "E-NO-ANSWER": "Look at what did not answer: `mount`, `df PATH` and the server of a network file system; `getent "
    "passwd NAME` for a directory of accounts. `manylab doctor` names every home that does not answer.",
    "E-REFUSED": "The message says which rule: members of the group may sign in, system accounts never. `manylab user "
    "add NAME` makes somebody a member.",
    "E-UNSUPPORTED": "The message names what is missing on this machine; the hint, what can be used instead.",
}
