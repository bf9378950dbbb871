// The restore command and its options; what it needs is loaded with it.
import { Option, type Command } from 'commander'
import { pointPrefix } from './options.ts'
import type { RestoreCommand } from './restore.ts'
import { toGateway } from './way.ts'

/** What all commands of the program share. */
interface Shared {
  /** What the argument of a point is. */
  readonly point: string
  readonly atOption: (what: string) => Option
  readonly workTimeoutOption: (what: string) => Option
  readonly jsonOption: () => Option
}

export const addRestore = (program: Command, { point, atOption, workTimeoutOption, jsonOption }: Shared): void => {
  toGateway(program.command('restore'))
    .description(
      'write a whole machine of a restore point to a folder, a disk or an attachment to a file or block device, or all attachments to a folder',
    )
    .argument('<point>', point)
    .addOption(atOption('the newest point of the machine'))
    .option('--disk <name>', 'only this disk')
    .option('--attachment <name>', 'only this attachment, such as command-line')
    .option('--attachments <folder>', 'only the attachments, all into this folder')
    .option(
      '--to <path>',
      'the folder of a whole machine; of a disk or attachment a new file, or with --force an existing file or block device',
    )
    .option(
      '--onto <path>',
      'in place of --to: an image of the disk that is there, on which only what differs is written',
    )
    .addOption(new Option('--base <point>', 'with --onto: the point that the image was').argParser(pointPrefix))
    .option('--bitmap <name>', 'with --base: the dirty bitmap of the image that has recorded all writes since')
    .option('--dry-run', 'with --onto: say what would be written', false)
    .addOption(
      new Option(
        '--format <format>',
        "of a disk's file, if its name does not say; the disks of a whole machine are qcow2 without it",
      ).choices(['raw', 'qcow2']),
    )
    .option(
      '--define',
      'of a whole machine: define its domain, or write the script that starts it; it is not started',
      false,
    )
    .option('--name <name>', 'with --define: the name that it gets')
    .option('--new-ids', 'with --define: a uuid and MACs of its own, to be beside the machine that it was', false)
    .option(
      '--uri <uri>',
      'with --define: the libvirt, if not that of the machine in the configuration or qemu:///system',
    )
    .option('--resume', 'keep what is written if it is broken off, and go on with what was kept', false)
    .option('--force', 'replace what is there, unless it is in use', false)
    .option(
      '--skip-damaged',
      'write what can be read when part of it is lost; fails with an error that lists the lost ranges',
      false,
    )
    .addOption(workTimeoutOption('the gateway'))
    .addOption(jsonOption())
    .action(async (named: string, options: RestoreCommand) => (await import('./restore.ts')).restore(named, options))
}
