// Backups under leases that somebody else holds, with a real gateway, agent and QEMU, which is driven as qemu-server drives it.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB, type ModelDisk } from '../support/model-machine.ts'
import { ExternalScene } from './external-scene.ts'

const vda: ModelDisk = { id: 'vda', format: 'qcow2', size: 8 * MIB, content: new Dice(50).bytes(8 * MIB) }
const vdb: ModelDisk = { id: 'vdb', format: 'raw', size: 2 * MIB, content: new Dice(51).bytes(2 * MIB) }

const USE = { modes: { vda: 'use', vdb: 'use' } } as const

test('full, increments that clip to the bitmap, a failed one whose changes the next one has, and files beside', async () => {
  await using at = await ExternalScene.start([vda, vdb])
  expect(await at.backUp(USE)).toEqual(['vda full first', 'vdb full first'])
  const config = at.stand.folder.join('vm.conf')
  await writeFile(config, 'scsi0: local:100/vm.qcow2\n')
  expect(await at.backUp(USE, '--config', config)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  const [newest] = await at.stand.listPoints()
  expect(newest?.attachments?.map(({ name }) => name)).toEqual(['vm.conf'])
  // one that its holder ends in the middle
  await at.write()
  const volumes = await at.holder.setup(USE)
  const broken = at.command(volumes, '--bandwidth', '1K')
  await at.running()
  const ended = await broken.end('SIGINT')
  expect(ended.code).toBe(130)
  await at.holder.teardown(false)
  expect(await at.backUp(USE)).toEqual(['vda incremental bitmap', 'vdb incremental bitmap'])
  expect(await at.host.residue()).toMatchObject({ journal: [], sockets: [] })
})

test('what is durable is discarded, where the export can be written', async () => {
  await using at = await ExternalScene.start([vda])
  const volumes = await at.holder.setup({ modes: { vda: 'use' } })
  const bytes = at.dice.bytes(MIB)
  for (let offset = 0; offset < vda.size; offset += MIB) await at.machine.write('vda', offset, bytes)
  expect(await at.holder.fleecingBytes('vda')).toBeGreaterThanOrEqual(vda.size)
  // whose caller has ended already
  expect(await at.run(volumes, '--while-stdin')).toMatchObject({ code: 130, answer: { error: { code: 'CANCELLED' } } })
  expect((await at.run(volumes)).code).toBe(0)
  // by pieces of 2 MiB, of which the first stays
  expect(await at.holder.fleecingBytes('vda')).toBeLessThan(3 * MIB)
  await at.holder.teardown(true)
})
