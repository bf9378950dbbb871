// The keys command: a new signing key, also where the old ones are lost.
import type { Command } from 'commander'
import { rotateKeys } from '../auth/authority.ts'
import { systemClock } from '../../protocol/host/clock.ts'
import { unaudited } from '../catalog/change.ts'
import { withCatalog } from './local.ts'
import { print, printJson } from '../../protocol/host/output.ts'
import { dataOption, jsonOption, type Common } from './options.ts'

/** Adds `keys`. */
export const addKeysCommand = (program: Command): void => {
  program
    .command('keys')
    .description('the keys with which the gateway signs tokens')
    .command('new')
    .description('make a new signing key; tokens of keys that are still there go on, those of lost ones end')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async ({ data, json }: Common) => {
      const kid = await withCatalog(data, async (catalog) => {
        const nowMs = systemClock.now()
        return await rotateKeys(
          await openAuthority({ folder: data, catalog, nowMs, acceptLostKeys: true }),
          nowMs,
          unaudited,
        )
      })
      printJson({ key: kid })
      if (!json) print(`The new signing key is ${kid}. A running gateway signs with it once it is started again.`)
    })
}
