// Disks of a domain on each kind of bus: a real QEMU takes the options, and its firmware boots from the disk.
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createConnection } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { domainWords } from '../../../agent/drill/domain-words.ts'
import { drillWords, QMP_SOCKET, SERIAL_SOCKET } from '../../../agent/drill/drill-words.ts'
import { SerialLog } from '../../../agent/drill/serial-log.ts'
import { startQemu } from '../../../agent/drill/start-qemu.ts'
import { QmpClient } from '../../../agent/qmp/client.ts'
import { talkingDisk } from '../../support/boot/boot-disks.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

const domain = (machine: string, bus: string, controller: string): string =>
  `<domain type='kvm'><name>db1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='${machine}'>hvm</type></os><cpu mode='host-model'/>
  <devices><disk type='file' device='cdrom'><target dev='sdz' bus='sata'/></disk>
  <disk type='file' device='disk'><target dev='vda' bus='${bus}'/><serial>S 1</serial></disk>${controller}
  <interface type='network'><mac address='52:54:00:00:00:04'/><model type='e1000e'/></interface>
  <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
  <rng model='virtio'/><video><model type='qxl'/></video></devices></domain>`

const BUSES = [
  ['q35', 'virtio', ''],
  ['q35', 'sata', ''],
  ['q35', 'scsi', "<controller type='scsi' index='0' model='virtio-scsi'/>"],
  ['q35', 'usb', ''],
  ['q35', 'nvme', ''],
  ['pc', 'ide', ''],
  ['pc', 'sata', ''],
  ['pc', 'scsi', "<controller type='scsi' index='0' model='lsilogic'/>"],
] as const

test.each(BUSES)('%s boots from a disk on %s', async (machine, bus, controller) => {
  await using temp = await tempFolder()
  await writeFile(temp.join('disk.raw'), talkingDisk('login: \0'))
  const { program, words } = domainWords(domain(machine, bus, controller), {
    disks: new Map([['vda', { file: 'disk.raw', format: 'raw' }]]),
    files: new Map(),
    isHere: () => false,
  })
  const made = drillWords(words, { accelerator: 'tcg', memoryMib: 64, cpus: 1 })
  expect(made.hasGuestAgent).toBe(true)
  await using qemu = await startQemu(program, made.words, { folder: temp.path, fileBytesMax: 1024 ** 2 })
  let said: string | null = null
  void qemu.ended.then((text) => (said = text))
  const log = new SerialLog()
  const client = await eventually(async () => {
    if (said !== null) throw new Error(`QEMU ended: ${said}`)
    return await QmpClient.connect({ path: path.join(temp.path, QMP_SOCKET) }).catch(() => null)
  })
  const socket = createConnection({ path: path.join(temp.path, SERIAL_SOCKET) })
  await once(socket, 'connect')
  socket.on('data', (bytes: Buffer) => log.add(bytes))
  await client.execute('cont')
  await eventually(() => log.text.includes('login:'))
  socket.destroy()
  client.close()
})
