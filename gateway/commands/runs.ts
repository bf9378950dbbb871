// The runs command: what plans and upkeep have done, and what is due.
import { Option, type Command } from 'commander'
import { RUN_KINDS, RUN_STATES, type Run, type RunKind, type RunState } from '../../protocol/runs.ts'
import { printList } from './listing.ts'
import { machineOption, rowsOption, tenantOption, toGateway, type Common } from './options.ts'
import { withSession } from './remote.ts'
import { timeText } from './report-points.ts'

/** Why runs were skipped, as people read it. */
const SKIPPED: Readonly<Record<NonNullable<Run['skipped']>, string>> = {
  missed: 'missed',
  fresh: 'not needed: the newest restore point is new enough',
  window: 'the window closed before its turn came',
  excluded: 'the machine is excluded',
  disabled: 'its plan was turned off or removed',
  moved: 'the machine belongs to another plan now',
  gone: 'the machine or its agent is gone',
  superseded: 'the next run came before it could start',
  nothing: 'there was nothing to do',
}

/** What became of a run, or holds it up, in a few words. */
export const runWhy = ({ state, skipped, error, nextMs, summary }: Run): string => {
  const failed = error === null ? null : `${error.message} (${error.code})`
  const again = state === 'due' && nextMs !== null ? `again at ${timeText(nextMs)}` : null
  const why = skipped === null || (skipped === 'missed' && summary !== '') ? null : SKIPPED[skipped]
  return [why, summary === '' ? null : summary, failed, again].filter((part) => part !== null).join('; ') || '-'
}

export const runCells = (run: Run): string[] => [
  timeText(run.dueMs),
  run.kind,
  run.machine ?? '-',
  run.plan ?? (run.by === null ? '-' : `by ${run.by}`),
  run.state,
  String(run.attempts),
  timeText(run.endedMs),
  runWhy(run),
]

interface RunsOptions extends Common {
  readonly machine?: string
  readonly kind?: RunKind
  readonly state?: RunState
  readonly limit?: number
}

/** Adds `runs`. */
export const addRunsCommand = (program: Command): void => {
  const command = program
    .command('runs')
    .description(
      'list what plans and upkeep have done and what is due, newest first, with the reason of what was not done; with --state due, what was due first comes first',
    )
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(new Option('--kind <kind>', 'only those').choices(RUN_KINDS))
    .addOption(new Option('--state <state>', 'only those').choices(RUN_STATES))
    .addOption(rowsOption())
    .addHelpText('after', '\nExample: varve-gateway runs --tenant acme --state failed')
  toGateway(command).action((options: RunsOptions) =>
    withSession(options, ({ peer, signal }) => {
      const { machine = null, kind = null, state = null } = options
      return printList(options, (after) => peer.call('runs.list', { machine, kind, state, after }, { signal }), {
        field: 'runs',
        rowsOf: ({ runs }) => runs,
        heading: ['DUE (UTC)', 'KIND', 'MACHINE', 'PLAN', 'STATE', 'STARTS', 'ENDED (UTC)', 'WHY'],
        cells: runCells,
        none: 'There is no such run.',
      })
    }),
  )
}
