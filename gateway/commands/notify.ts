// Commands about notifications: targets, rules, mutes, the outbox, and the ping that says that the gateway lives.
import { Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { durationText } from '../../protocol/host/duration.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { NOTICE_STATES, type NoticeState } from '../../protocol/notify.ts'
import { printList } from './listing.ts'
import { addMuteCommands, addRuleCommands } from './notify-rule.ts'
import { addTargetCommands, addTest } from './notify-target.ts'
import { duration, name, rowsOption, tenantOption, toGateway, wholeId, withDefault, type Common } from './options.ts'
import { withSession } from './remote.ts'
import { timeText } from './report-points.ts'
import { readToken } from './secret-input.ts'

const addOutbox = (notify: Command): void => {
  const command = notify
    .command('outbox')
    .description('list messages, the newest first: those that wait, were sent, or could not be sent within a day')
    .addOption(tenantOption())
    .addOption(new Option('--state <state>', 'only those').choices(NOTICE_STATES))
    .addOption(rowsOption())
  toGateway(command).action((options: Common & { limit?: number; state?: NoticeState }) =>
    withSession(options, ({ peer, signal }) =>
      printList(options, (after) => peer.call('notify.outbox', { after, state: options.state ?? null }, { signal }), {
        field: 'notices',
        rowsOf: ({ notices }) => notices,
        heading: ['ID', 'MADE (UTC)', 'TARGET', 'STATE', 'TRIED', 'SUBJECT', 'ERROR'],
        cells: ({ id, madeMs, target, state, attempts, subject, error }) => [
          id,
          timeText(madeMs),
          target,
          state,
          String(attempts),
          subject,
          error ?? '-',
        ],
        none: 'There is no message.',
      }),
    ),
  )
}

const addOfNotice = (
  notify: Command,
  what: 'retry' | 'drop',
  description: string,
  done: (id: string) => string,
): void => {
  const command = notify
    .command(what)
    .description(description)
    .argument('<id>', 'the id that "notify outbox" shows', wholeId('notify outbox'))
    .addOption(tenantOption())
  toGateway(command).action(async (id: string, options: Common) => {
    await withSession(options, ({ peer, signal }) => peer.call(`notify.${what}`, { notice: id }, { signal }))
    printJson({ notice: id })
    if (!options.json) print(done(id))
  })
}

const addDigest = (notify: Command): void => {
  const command = notify
    .command('digest')
    .description('send a target all that holds now')
    .argument('<target>', 'the target', name)
    .addOption(tenantOption())
  toGateway(command).action(async (target: string, options: Common) => {
    const answer = await withSession(options, ({ peer, signal }) => peer.call('notify.digest', { target }, { signal }))
    printJson({ target, ...answer })
    if (!options.json) print(`A digest of ${answer.holding} to know is on its way to ${target} (${answer.notice}).`)
  })
}

interface PingOptions extends Common {
  readonly urlFile?: string
  readonly every: number
  readonly insecure: boolean
  readonly off: boolean
}

const addPing = (notify: Command): void => {
  const command = notify
    .command('ping')
    .description('show or set the ping outwards: who misses it knows that the gateway is dead')
    .option('--url-file <file>', 'the URL to call, such as one of healthchecks.io, in a file; "-" for standard input')
    .addOption(withDefault('--every <duration>', 'how often', duration, '5m'))
    .option('--insecure', 'allow plain http to another host', false)
    .option('--off', 'no ping any more', false)
  toGateway(command).action(async (options: PingOptions) => {
    const { urlFile, every: everyMs, insecure, off } = options
    if (off && urlFile !== undefined) throw new VarveError('PARAMS_INVALID', '--off ends the ping: give it alone')
    const url = urlFile === undefined ? null : await readToken(urlFile, 'the URL')
    const { ping } = await withSession(options, ({ peer, signal }) =>
      off || url !== null
        ? peer.call('notify.setPing', { url, everyMs, insecure }, { signal })
        : peer.call('notify.ping', {}, { signal }),
    )
    printJson({ ping })
    if (options.json) return
    if (ping === null) return print('There is no ping.')
    const last = ping.answeredMs === null ? 'not answered yet' : `answered last at ${timeText(ping.answeredMs)} UTC`
    print(`${ping.origin} every ${durationText(ping.everyMs)}, ${last}${ping.error === null ? '' : `: ${ping.error}`}`)
  })
}

/** Adds `notify`. */
export const addNotifyCommands = (program: Command): void => {
  const notify = program.command('notify').description('say who hears of what, and see what was said')
  addTargetCommands(notify)
  addTest(notify)
  addRuleCommands(notify)
  addMuteCommands(notify)
  addDigest(notify)
  addOutbox(notify)
  addOfNotice(
    notify,
    'retry',
    'try a message again from now on, for another day',
    (id) => `Message ${id} is on its way.`,
  )
  addOfNotice(notify, 'drop', 'remove a message', (id) => `Message ${id} is removed.`)
  addPing(notify)
}
