// What holders of leases, agents and NBD servers may do wrong: no point is ever made of it, and nothing is missed later.
import { createServer } from 'node:net'
import { rm } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { Dice } from '../support/model-dice.ts'
import { MIB, type ModelDisk } from '../support/model-machine.ts'
import { eventually } from '../support/temp.ts'
import { ExternalScene } from './external-scene.ts'

const vda: ModelDisk = { id: 'vda', format: 'qcow2', size: 4 * MIB, content: new Dice(53).bytes(4 * MIB) }
/** So small that every sample has all of it. */
const tiny: ModelDisk = { ...vda, size: MIB, content: new Dice(54).bytes(MIB) }

const USE = { modes: { vda: 'use' } } as const
const NEW = { modes: { vda: 'new' } } as const

test('a bitmap that was begun anew after a failed backup is not trusted; a new one is', async () => {
  await using at = await ExternalScene.start([vda])
  expect(await at.backUp(USE)).toEqual(['vda full first'])
  await at.write()
  const again = await at.holder.setup(USE)
  const broken = at.command(again, '--bandwidth', '1K')
  await at.running()
  expect((await broken.end('SIGINT')).code).toBe(130)
  // a holder that takes the failure for success
  await at.holder.teardown(true)
  expect(await at.backUp(USE)).toEqual(['BITMAP_UNPROVED'])
  expect(await at.backUp(NEW)).toEqual(['vda full bitmap-missing'])
  expect(await at.backUp(USE)).toEqual(['vda incremental bitmap'])
})

test('a bitmap of the same name in a QEMU that was started anew proves nothing, nor does one without a record', async () => {
  await using at = await ExternalScene.start([vda])
  expect(await at.backUp(USE)).toEqual(['vda full first'])
  await at.write()
  await at.machine.restart({})
  await at.machine.qemu.control.execute('block-dirty-bitmap-add', { node: 'vda', name: at.holder.bitmap })
  expect(await at.backUp(USE)).toEqual(['BITMAP_UNPROVED'])
  // one that may be read everywhere is read in full
  expect(await at.backUp({ ...USE, open: true })).toEqual(['vda full checkpoint-mismatch'])
  expect(await at.backUp(USE)).toEqual(['vda incremental bitmap'])
  await rm(path.join(at.host.stateFolder, 'external', 'vm.json'))
  expect(await at.backUp(USE)).toEqual(['BITMAP_UNPROVED'])
})

test('changes that a bitmap missed are found where the export can be read outside of it', async () => {
  await using at = await ExternalScene.start([tiny])
  expect(await at.backUp(USE)).toEqual(['vda full first'])
  await at.machine.write('vda', 0, at.dice.bytes(4096))
  await at.holder.begin('vda')
  expect(await at.backUp({ ...USE, open: true })).toEqual(['vda full changes-missed'])
})

test('two leases of one machine, and a backup without one, are refused', async () => {
  await using at = await ExternalScene.start([vda])
  const volumes = await at.holder.setup(NEW)
  const first = at.command(volumes, '--bandwidth', '1K')
  await at.running()
  const second = await at.run(volumes)
  expect([second.code, second.answer.error?.code]).toEqual([5, 'LEASE_HELD'])
  expect((await first.end('SIGINT')).code).toBe(130)
  await at.holder.teardown(false)
  const job = await at.stand.startBackup('vm')
  expect((await at.stand.ended(job)).error?.code).toBe('LEASE_NOT_GIVEN')
})

test('a command or an agent that is killed leaves no point, and the next backup has its changes', async () => {
  await using at = await ExternalScene.start([vda])
  expect(await at.backUp(USE)).toEqual(['vda full first'])
  for (const victim of ['command', 'agent'] as const) {
    await at.write()
    const volumes = await at.holder.setup(USE)
    const command = at.command(volumes, '--bandwidth', '1K')
    await at.running()
    if (victim === 'command') await command.end('SIGKILL')
    else {
      await at.host.end('SIGKILL')
      expect((await command.ended).code).toBe(1)
      await at.host.start()
    }
    await eventually(async () => (await at.stand.jobs()).every(({ state }) => state !== 'running'))
    await at.holder.teardown(false)
    expect(await at.backUp(USE)).toEqual(['vda incremental bitmap'])
  }
  expect(await at.host.residue()).toMatchObject({ journal: [], scratch: [] })
})

test('servers that are none, that lack the export or the bitmap, or are not there', async () => {
  await using at = await ExternalScene.start([vda])
  const file = at.stand.folder.join('no.sock')
  const server = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await new Promise<void>((resolve) => server.listen(file, resolve))
  const volumes = await at.holder.setup(USE)
  const [volume] = Object.values(volumes)
  const codes: (string | undefined)[] = []
  for (const change of [
    { 'nbd-path': file },
    { 'bitmap-name': 'other', 'bitmap-mode': 'reuse' as const },
    { 'nbd-path': '/nowhere' },
  ])
    codes.push((await at.run({ vda: { ...volume!, ...change } })).answer.error?.code)
  codes.push((await at.run({ other: volume! })).answer.error?.code)
  expect(codes).toEqual(['NBD_PROTOCOL', 'NBD_ERROR', 'NBD_ERROR', 'NBD_ERROR'])
  server.close()
  await at.holder.teardown(false)
  expect(await at.stand.listPoints()).toEqual([])
})
