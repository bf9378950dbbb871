// What may go wrong around the plug-ins for Proxmox VE: a bitmap that is not what it is said to be, a gateway that is away, a
// kill. Method: as in provider.test.ts.
import { expect, test } from 'vitest'
import { LeaseHolder } from '../support/lease-holder.ts'
import { Dice } from '../support/model-dice.ts'
import { MIB, ModelMachine, type ModelDisk } from '../support/model-machine.ts'
import { expectDisks } from '../support/stand-checks.ts'
import { Stand } from '../support/stand.ts'
import { told, Vzdump } from './vzdump.ts'

const DISK: ModelDisk = { id: 'scsi0', format: 'qcow2', size: 4 * MIB, content: new Dice(70).bytes(4 * MIB) }

test('a bitmap that proves nothing fails the backup, and the next one asks for a new one; without a gateway none begins', async () => {
  await using stand = await Stand.start()
  const host = await stand.addHost()
  await host.start()
  await using machine = await ModelMachine.start({ name: 'vm', folder: stand.folder.join('vm'), disks: [DISK] })
  const holder = new LeaseHolder(machine, stand.folder.path)
  await using vzdump = await Vzdump.start(stand.folder.path, host.configFile)
  const job = { vmid: 101, machine, holder, config: 'scsi0: local:101/vm-101-disk-0.qcow2\n' }
  const change = (): Promise<void> => machine.write('scsi0', MIB, new Dice(71).bytes(4096))
  expect(await vzdump.run(job)).toMatchObject({ error: null, modes: { scsi0: 'new new' } })
  await change()
  // a bitmap of the same name in another QEMU, which nobody has told to begin at the restore point
  await machine.restart({})
  await machine.qemu.control.execute('block-dirty-bitmap-add', { node: 'scsi0', name: holder.bitmap })
  const unproved = await vzdump.run({ ...job, access: { modes: { scsi0: 'use' } } })
  // which is not what was asked for
  expect(unproved).toMatchObject({ modes: { scsi0: 'new reuse' } })
  expect(unproved.error).toContain('BITMAP_UNPROVED')
  expect(await vzdump.run(job)).toMatchObject({ error: null, modes: { scsi0: 'new new' } })
  // a name that the exports do not have
  const lost = await vzdump.run({ ...job, lie: (volumes) => void (volumes['scsi1'] = { ...volumes['scsi0'] }) })
  expect(lost.error).toContain('NBD_ERROR')
  // more than an attachment can have
  const bare = await vzdump.run({ ...job, firewall: '#'.repeat(16 * MIB + 1) })
  expect(bare.error).toContain('but firewall.fw is not')
  await stand.endGateway('SIGKILL')
  const away = await vzdump.run(job)
  expect(away).toMatchObject({ archive: null, modes: {} })
  await stand.startGateway()
  const points = await stand.listPoints()
  expect(points.map(({ kind }) => kind)).toEqual(['incremental', 'full', 'full'])
  expectDisks(await stand.restore(points[0]!.id), machine.snapshot())
  told(vzdump)
})
