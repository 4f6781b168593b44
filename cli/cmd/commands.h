#pragma once
/* The subcommands, one file each beside this one; main.c has their table. */

int cmd_durability(int argc, char **argv);
int cmd_salvage(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_nodes(int argc, char **argv);
int cmd_disks(int argc, char **argv);
int cmd_pgs(int argc, char **argv);
int cmd_drain(int argc, char **argv);
int cmd_undrain(int argc, char **argv);
int cmd_safe_to_remove(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_repair(int argc, char **argv);
int cmd_scrub(int argc, char **argv);
int cmd_kms(int argc, char **argv);
int cmd_user(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_policy(int argc, char **argv);
int cmd_account(int argc, char **argv);
int cmd_quota(int argc, char **argv);
