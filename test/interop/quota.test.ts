// A hard quota met by a real backup: it ends with its code and a sentence, nothing is left in the machine, and raised it goes on.
import { readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { EXIT } from '../../protocol/host/exit.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB } from '../support/model-machine.ts'
import { bare, expectDisks, expectNothingLeft, withCheckpoint } from '../support/stand-checks.ts'
import { Stand, TENANT } from '../support/stand.ts'

const fileBytes = async (folder: string): Promise<number> => {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const sizes = entries.filter((entry) => entry.isFile()).map((entry) => stat(path.join(entry.parentPath, entry.name)))
  return (await Promise.all(sizes)).reduce((sum, { size }) => sum + size, 0)
}

test('a backup that would pass the quota ends with QUOTA_EXCEEDED; what is stored restores, and a raised quota lets it go on', async () => {
  const dice = new Dice(95)
  await using stand = await Stand.start()
  const host = await stand.addHost()
  const content = Buffer.alloc(32 * MIB)
  content.set(dice.bytes(4 * MIB))
  const machine = await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: 32 * MIB, content }])
  const before = bare(await machine.objects())
  await host.start()
  const first = await host.backup('db1')
  const model = machine.snapshot()

  // set beside the running gateway
  await stand.done('tenant', 'quota', TENANT, '--hard', '10M')
  await machine.write('vda', 8 * MIB, dice.bytes(16 * MIB))
  const refused = await host.run('backup', 'db1')
  expect([refused.code, refused.stderr]).toEqual([EXIT.refused, expect.stringContaining('QUOTA_EXCEEDED')])
  expect(refused.stderr).toContain(`varve-gateway tenant quota ${TENANT}`)
  expect(await fileBytes(path.join(stand.dataFolder, 'packs'))).toBeLessThanOrEqual(10 * MIB)
  await expectNothingLeft(host, machine, withCheckpoint(before, host.checkpoint(first.point), machine.disks))
  expectDisks(await stand.restore(first.point), model)

  await stand.done('tenant', 'quota', TENANT, '--hard', '1G')
  const second = await host.backup('db1')
  expect(second.kind).toBe('incremental')
  expectDisks(await stand.restore(second.point), machine.snapshot())
})
