// The drill command and its options; what it needs is loaded with it.
import { InvalidArgumentError, Option, type Command } from 'commander'
import type { Moment } from '../../../protocol/host/moment.ts'
import { duration, size } from '../options.ts'
import { toGateway } from '../way.ts'
import type { DrillCommand } from './drill.ts'

/** What all commands of the program share. */
interface Shared {
  readonly point: string
  readonly atOption: (what: string) => Option
  readonly jsonOption: () => Option
  readonly workTimeoutOption: (what: string) => Option
}

const cpus = (text: string): number => {
  if (!/^[1-9]\d{0,2}$/u.test(text)) throw new InvalidArgumentError('It takes a number of processors, such as 2.')
  return Number(text)
}

export const addDrill = (program: Command, { point, atOption, jsonOption, workTimeoutOption }: Shared): void => {
  toGateway(program.command('drill'))
    .description(
      'prove that a restore point boots: start a copy of the machine without network, wait for evidence, keep the verdict',
    )
    .argument('<point>', point)
    .addOption(atOption('the newest point of the machine'))
    .option(
      '--check <evidence>',
      'what proves it: "guest-agent" answers, "serial:REGEX" on the console, or "command:COMMAND" of this host ends with 0 (without it the guest agent, where the machine has its channel)',
    )
    .addOption(
      new Option(
        '--boot-limit <duration>',
        'how long the evidence may take (without it 3m, or 15m where there is no KVM)',
      ).argParser(duration),
    )
    .addOption(
      new Option(
        '--memory-max <size>',
        'memory of the copy at most (without it half of what the host has free)',
      ).argParser(size),
    )
    .addOption(
      new Option('--cpus-max <number>', "processors of the copy at most (without it half of the host's)").argParser(
        cpus,
      ),
    )
    .addOption(
      new Option('--write-max <size>', 'what the copy may write at most').argParser(size).default(4 * 1024 ** 3, '4G'),
    )
    .option('--scratch <folder>', 'where it writes while it lasts (without it TMPDIR, or /var/tmp)')
    .addOption(workTimeoutOption('the gateway'))
    .addOption(jsonOption())
    .action(async (named: string, options: DrillCommand & { readonly at?: Moment }) =>
      (await import('./drill.ts')).drill(named, options),
    )
}
