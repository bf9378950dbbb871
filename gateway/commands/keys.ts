// Commands about the keys with which the gateway signs tokens.
import type { Command } from 'commander'
import { print, printJson } from '../../protocol/host/output.ts'
import { tableLines } from '../../protocol/host/table.ts'
import { toGateway, type Common } from './options.ts'
import { withSession } from './remote.ts'
import { timeText } from './report-points.ts'

/** Adds `keys`. */
export const addKeysCommands = (program: Command): void => {
  const keys = program.command('keys').description('the keys with which the gateway signs tokens')

  toGateway(keys.command('list').description('list the signing keys, the one that signs now last')).action(
    async (options: Common) => {
      const { keys: rows } = await withSession(options, ({ peer, signal }) => peer.call('keys.list', {}, { signal }))
      printJson({ keys: rows })
      if (options.json) return
      tableLines(
        ['KEY', 'CREATED (UTC)', 'ITS TOKENS ARE VALID UNTIL (UTC)'],
        rows.map(({ id, createdMs, endsMs }) => [
          id,
          timeText(createdMs),
          endsMs === null ? 'signs now' : timeText(endsMs),
        ]),
      ).forEach(print)
    },
  )

  toGateway(
    keys
      .command('new')
      .description('make a new signing key, even if the old ones are lost; tokens of lost keys become invalid'),
  ).action(async (options: Common) => {
    const made = await withSession(options, ({ peer, signal }) => peer.call('keys.rotate', {}, { signal }), {
      acceptLostKeys: true,
    })
    printJson(made)
    if (!options.json) print(`The new signing key is ${made.key}.`)
  })
}
