"""``selfinstall-virt-ssh``: a setup script for autopkgtest-virt-ssh(1).

Each of the script's commands is a process of its own, so a *keeper* in the
background holds the machine between them (:mod:`selfinstall.virtssh.keeper`);
commands find it by a folder (:mod:`selfinstall.virtssh.state`) and speak to it
on a socket there (:mod:`selfinstall.virtssh.control`).
"""
