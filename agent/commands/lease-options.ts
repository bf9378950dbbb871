// The commands of leases for other programs, and their options; what they need is loaded with them.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { CONSISTENCY_WISHES } from '../../protocol/backup.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { LEASE_TTL_MAX_MS, LEASE_TTL_MIN_MS } from '../../protocol/leases.ts'
import type { LeaseCommand } from './lease.ts'
import { duration } from './options.ts'
import type { TargetsCommand } from './targets.ts'

/** What all commands of the program share. */
interface Shared {
  readonly configOption: () => Option
  readonly jsonOption: () => Option
  readonly lookTimeoutOption: () => Option
  readonly workTimeoutOption: (what: string) => Option
}

/** How long a lease lives by default without a renewal, in milliseconds. */
const TTL_DEFAULT_MS = 10 * 60_000

const ttl = (text: string): number => {
  const ms = duration(text)
  if (ms >= LEASE_TTL_MIN_MS && ms <= LEASE_TTL_MAX_MS) return ms
  throw new InvalidArgumentError(`It is ${durationText(LEASE_TTL_MIN_MS)} to ${durationText(LEASE_TTL_MAX_MS)}.`)
}

export const addLease = (program: Command, shared: Shared): void => {
  const { configOption, jsonOption, lookTimeoutOption, workTimeoutOption } = shared
  program
    .command('lease')
    .description(
      'run a command that may read a machine as it is at one instant, over NBD; its exit code 0 makes the lease a success',
    )
    .argument('<machine>', 'its name in the configuration')
    .argument('<command...>', 'behind "--": the command and its arguments, with VARVE_LEASE_… in its environment')
    .requiredOption('--target <name>', 'who reads: each target has bitmaps, and so increments, of its own')
    .addOption(
      new Option('--ttl <duration>', 'how long the lease outlives this command, should that be killed')
        .argParser(ttl)
        .default(TTL_DEFAULT_MS, '10m'),
    )
    .option('--full', 'have all of it read, not just what changed since the last success of the target', false)
    .addOption(
      new Option(
        '--consistency <wish>',
        "what to require of the guest (without it as the machine's plan does)",
      ).choices([...CONSISTENCY_WISHES]),
    )
    .addOption(workTimeoutOption('gateway and agent'))
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (machine: string, words: readonly string[], options: LeaseCommand) =>
      (await import('./lease.ts')).lease(machine, words, options),
    )
  program
    .command('targets')
    .description('show who reads a machine with leases: the last success, and the lease that is held now')
    .argument('<machine>', 'its name in the configuration')
    .option('--remove <target>', 'forget this target with its bitmaps; a lease that it holds fails')
    .addOption(lookTimeoutOption())
    .addOption(configOption())
    .addOption(jsonOption())
    .action(async (machine: string, options: TargetsCommand) =>
      (await import('./targets.ts')).targets(machine, options),
    )
}
