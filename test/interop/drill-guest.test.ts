// A drill of a real Linux: it boots from its disk, over the export and an overlay, and its guest agent answers.
import { mkdir, readdir } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isPicture } from '../../protocol/picture.ts'
import { buildGuest } from '../rig/build-guest.ts'
import { MEMORY_MIB } from '../rig/guest.ts'
import { linuxDisk } from '../support/boot/boot-disks.ts'
import { MIB } from '../support/model-machine.ts'
import type { Host } from '../support/stand-host.ts'
import { Stand } from '../support/stand.ts'

let stand: Stand
let host: Host
let point: string
let scratch: string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost()
  scratch = stand.folder.join('scratch')
  await mkdir(scratch)
  const content = await linuxDisk(await buildGuest(), 'console=ttyS0 quiet loglevel=1 panic=-1', 64 * MIB)
  const channel = ['-device', 'virtio-serial', '-device', 'virtserialport,chardev=qga,name=org.qemu.guest_agent.0']
  const extra = [
    '-m',
    String(MEMORY_MIB),
    '-smp',
    '2',
    '-cpu',
    'max',
    '-vga',
    'std',
    '-netdev',
    'user,id=net0',
    '-device',
    'virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01',
    '-chardev',
    `socket,id=qga,path=${stand.folder.join('qga.sock')},server=on,wait=off`,
    ...channel,
  ]
  const disks = [
    { id: 'vda', format: 'qcow2', size: content.length, content },
    { id: 'vdb', format: 'raw', size: 64 * MIB },
  ] as const
  await host.addMachine('db1', disks, { qemu: { extra } })
  await host.start()
  point = (await host.backup('db1')).point
})

afterAll(async () => {
  await stand[Symbol.asyncDispose]()
})

test('its guest agent answers, and nothing of it stays but the verdict', async () => {
  const done = await host.done('drill', point, '--scratch', scratch, '--boot-limit', '10m', '--json')
  const told = JSON.parse(done.stdout) as Record<string, unknown>
  expect(told).toMatchObject({ verdict: 'passed', check: 'guest-agent', reason: 'its guest agent answered' })
  expect(told['log']).toContain('READY')
  expect(await readdir(scratch)).toEqual([])
  const { picture } = await (await stand.peer()).call('drills.get', { drill: told['drill'] as string })
  expect(isPicture(picture!)).toBe(true)
})

test('what it may write is bounded', async () => {
  const ended = await host.run(
    'drill',
    point,
    '--scratch',
    scratch,
    '--boot-limit',
    '10m',
    '--write-max',
    '8M',
    '--check',
    'serial:never',
    '--json',
  )
  expect([ended.code, ended.stdout]).toEqual([7, expect.stringContaining('--write-max')])
  expect(await readdir(scratch)).toEqual([])
})
