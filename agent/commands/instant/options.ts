// The instant commands and their options; what a command needs is loaded with it.
import { Option, type Command } from 'commander'
import { duration, size } from '../options.ts'
import { toGateway } from '../way.ts'
import type { AbandonCommand } from './abandon.ts'
import type { BeginCommand } from './begin.ts'
import type { LookCommand, ResumeCommand } from './look.ts'

/** What all commands of the program share. */
interface Shared {
  readonly configOption: () => Option
  readonly jsonOption: () => Option
  readonly atOption: (what: string) => Option
  readonly workTimeoutOption: (what: string) => Option
}

export const addInstant = (
  program: Command,
  { configOption, jsonOption, atOption, workTimeoutOption }: Shared,
): void => {
  const instant = program
    .command('instant')
    .description(
      'run a machine from a restore point at once, while its disks are brought in: "instant POINT --to FOLDER"',
    )
  toGateway(instant.command('begin', { isDefault: true }))
    .description('make the machine in a folder, with a script that starts it; the same as "instant POINT"')
    .argument(
      '<point>',
      'the restore point: its id, or the first characters of its id; with --at the name of a machine',
    )
    .argument('[options...]', 'after "--": more arguments of QEMU, for the script')
    .addOption(atOption('the newest point of the machine'))
    .option('--to <folder>', 'where the disks and the script go: a new folder, or one without files of these names')
    .option('--start', 'start the machine', false)
    .option('--define', 'of a domain of libvirt: one again, which is defined once its disks stand alone', false)
    .option('--name <name>', 'with --define: the name that it gets')
    .option('--new-ids', 'with --define: a uuid and MACs of its own, to be beside the machine that it was', false)
    .option(
      '--uri <uri>',
      'with --define: the libvirt, if not that of the machine in the configuration or qemu:///system',
    )
    .addOption(
      new Option('--reconnect-for <duration>', 'how long the guest waits for a read while the gateway is away')
        .argParser(duration)
        .default(10 * 60_000, '10m'),
    )
    .addOption(new Option('--cache-memory <size>', 'memory for chunks').argParser(size).default(64 * 1024 ** 2, '64M'))
    .addOption(
      new Option('--speed <size>', 'bytes of each disk that are brought in per second at most, such as 50M').argParser(
        size,
      ),
    )
    .addOption(workTimeoutOption('the gateway'))
    .addOption(jsonOption())
    .action(async (point: string, extra: readonly string[], options: BeginCommand) =>
      (await import('./begin.ts')).begin(point, extra, options),
    )
  instant
    .command('status')
    .description('show the machines of this host that run from the gateway')
    .argument('[folder]', 'only the one in this folder')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (folder: string | undefined, options: LookCommand) =>
      (await import('./look.ts')).instantStatus(folder, options),
    )
  instant
    .command('resume')
    .description('serve the disks again, as after a restart of the host')
    .argument('<folder>', 'where the disks are')
    .option('--start', 'start the machine too', false)
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (folder: string, options: ResumeCommand) =>
      (await import('./look.ts')).instantResume(folder, options),
    )
  instant
    .command('finish')
    .description(
      'bring the disks in as fast as it goes, and wait until they stand alone; also while the machine is off',
    )
    .argument('<folder>', 'where the disks are')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (folder: string, options: LookCommand) => (await import('./look.ts')).instantFinish(folder, options))
  instant
    .command('abandon')
    .description('end the machine and delete its disks, with everything that its guest has written')
    .argument('<folder>', 'where the disks are')
    .option('--yes', 'do it; without it, only what would be lost is said', false)
    .option('--lose-writes', 'also when the machine has run', false)
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (folder: string, options: AbandonCommand) =>
      (await import('./abandon.ts')).instantAbandon(folder, options),
    )
}
