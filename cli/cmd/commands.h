#pragma once
/* The subcommands, one file each beside this one; main.c has their table. */

int cmd_durability(int argc, char **argv);
int cmd_salvage(int argc, char **argv);
