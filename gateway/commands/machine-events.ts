// The command that prints the events of a machine's QEMU as they come.
import { Option, type Command } from 'commander'
import { asVarveError } from '../../protocol/errors.ts'
import { print, printRows } from '../../protocol/host/output.ts'
import { duration, name, rowsOption, tenantOption, toGateway, type Common } from './options.ts'
import { withTenant, type Remote } from './remote.ts'
import { timeText } from './report-points.ts'

interface EventsOptions extends Common {
  readonly limit?: number
  /** Milliseconds. */
  readonly for?: number
}

/** Ends after so many events, or when its time is over. */
const follow = async ({ peer, signal }: Remote, machine: string, options: EventsOptions): Promise<void> => {
  const { limit = Number.POSITIVE_INFINITY, json } = options
  const enough = new AbortController()
  const timer = options.for === undefined ? null : setTimeout(() => enough.abort(), options.for)
  const call = peer.open('machines.events', { machine }, { signal: AbortSignal.any([signal, enough.signal]) })
  let count = 0
  printRows('events', [])
  try {
    for await (const { event, timeMs, data } of call.messages) {
      if (json) printRows('events', [{ event, timeMs, data: JSON.parse(data) as unknown }])
      else print(`${timeText(timeMs)}  ${event}  ${data}`)
      if (++count >= limit) enough.abort()
    }
    await call.result
  } catch (thrown) {
    if (!enough.signal.aborted || signal.aborted) throw asVarveError(thrown)
  } finally {
    if (timer !== null) clearTimeout(timer)
    await call.result.catch(() => undefined)
  }
}

/** Adds `machine events`. */
export const addEventsCommand = (machine: Command): void => {
  const command = machine
    .command('events')
    .description("print the events of a machine's QEMU as they come, until it is interrupted")
    .argument('<machine>', 'the machine', name)
    .addOption(tenantOption())
    .addOption(rowsOption())
    .addOption(new Option('--for <duration>', 'end after so long, such as 5m').argParser(duration))
  toGateway(command).action((machineName: string, options: EventsOptions) =>
    withTenant(options, (remote) => follow(remote, machineName, options)),
  )
}
