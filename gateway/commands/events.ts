// The events command: what happened, and what happens.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { asVarveError } from '../../protocol/errors.ts'
import { EVENT_KINDS, type Event, type EventKind } from '../../protocol/events.ts'
import { print, printRows, remark } from '../../protocol/host/output.ts'
import { printList } from './listing.ts'
import { machineOption, rowsOption, tenantOption, toGateway, whole, type Common } from './options.ts'
import { withSession, type Remote } from './remote.ts'
import { timeText } from './report-points.ts'

interface EventsOptions extends Common {
  readonly machine?: string
  readonly kind?: EventKind[]
  readonly limit?: number
  readonly follow: boolean
  readonly after?: number
}

const kindsOf = (text: string): EventKind[] => {
  const kinds = text.split(',')
  const unknown = kinds.find((one) => !(EVENT_KINDS as readonly string[]).includes(one))
  if (unknown !== undefined) throw new InvalidArgumentError(`It takes kinds, with commas: ${EVENT_KINDS.join(', ')}.`)
  return kinds as EventKind[]
}

const cells = ({ timeMs, severity, kind, text }: Event): string[] => [timeText(timeMs), severity, kind, text]

/** Prints events as they come, until it is interrupted or has printed so many. */
const follow = async ({ peer, signal }: Remote, options: EventsOptions): Promise<void> => {
  const { machine = null, kind: kinds = null, after = null, limit = Number.POSITIVE_INFINITY, json } = options
  const enough = new AbortController()
  const call = peer.open(
    'events.watch',
    { machine, kinds, after },
    { signal: AbortSignal.any([signal, enough.signal]) },
  )
  let count = 0
  printRows('events', [])
  try {
    for await (const { events, trimmedTo } of call.messages) {
      if (trimmedTo !== null) remark(`events up to number ${trimmedTo} are not kept any more`)
      for (const one of events.slice(0, limit - count)) {
        count++
        if (json) printRows('events', [one])
        else print(cells(one).join('  '))
      }
      if (count >= limit) enough.abort()
    }
    await call.result
  } catch (thrown) {
    if (!enough.signal.aborted || signal.aborted) throw asVarveError(thrown)
  } finally {
    await call.result.catch(() => undefined)
  }
}

const list = async ({ peer, signal }: Remote, options: EventsOptions): Promise<void> => {
  const { machine = null, kind: kinds = null } = options
  await printList(options, (after) => peer.call('events.list', { machine, kinds, after }, { signal }), {
    field: 'events',
    rowsOf: ({ events }) => events,
    heading: ['TIME (UTC)', 'SEVERITY', 'KIND', 'WHAT'],
    cells,
    none: 'Nothing has happened yet.',
  })
}

/** Adds `events`. */
export const addEventsCommand = (program: Command): void => {
  const command = program
    .command('events')
    .description(
      'list what happened, newest first, or print what happens; without a tenant what concerns the gateway itself',
    )
    .addOption(tenantOption())
    .addOption(machineOption('only those of this machine'))
    .addOption(new Option('--kind <kinds>', 'only those, such as job.failed,machine.state').argParser(kindsOf))
    .option('--follow', 'print events as they come, until it is interrupted', false)
    .addOption(
      new Option('--after <number>', 'with --follow: begin behind this one, not with what comes').argParser(
        whole(0, Number.MAX_SAFE_INTEGER),
      ),
    )
    .addOption(rowsOption())
    .addHelpText('after', '\nExample: varve-gateway events --tenant acme --follow --kind machine.state')
  toGateway(command).action((options: EventsOptions) =>
    withSession(options, (remote) => (options.follow ? follow(remote, options) : list(remote, options))),
  )
}
