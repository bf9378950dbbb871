// Leaving a host whose journal tells of a lease that this version does not understand.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { openJournal } from '../../../agent/drivers/registry.ts'
import { journalled } from '../../support/journal-entry.ts'
import { tempFolder } from '../../support/temp.ts'
import { command } from './stand.ts'

test('an entry of another version is named and keeps the state folder, unless that is forced', async () => {
  await using temp = await tempFolder()
  const [state, config] = [temp.join('state'), temp.join('agent.toml')]
  await writeFile(config, `gateway = "wss://backup.example"\nstate = "${state}"\n`)
  const entry = journalled()
  await (await openJournal(state)).write(entry)
  const file = `${state}/leases/${entry.id}.json`
  await writeFile(file, (await readFile(file, 'utf8')).replace(/"payloadVersion":\d+/u, '"payloadVersion":99'))

  // whatever its drivers keep goes too
  await mkdir(`${state}/checkpoints`)
  await writeFile(`${state}/checkpoints/0192aaaa-0000-7000-8000-000000000001.json`, '[]')

  const kept = await command('uninstall', '--json', '--config', config)
  expect(kept.code).toBe(5)
  expect(JSON.parse(kept.stdout.split('\n')[0]!)).toMatchObject({ state: 'kept' })
  expect(kept.stdout).toContain(`db1: its journal entry ${file} (driver qmp) is not understood`)
  expect(existsSync(file)).toBe(true)

  const forced = await command('uninstall', '--force', '--json', '--config', config)
  expect([forced.code, JSON.parse(forced.stdout)]).toMatchObject([0, { state: 'removed' }])
  expect(existsSync(state)).toBe(false)
})
