// The script that starts a restored machine: what QEMU was started with, with the restored files, and nothing of its host.
import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { commandText } from '../../../agent/attachments/command-line.ts'
import { optionText } from '../../../agent/define/qemu-devices.ts'
import { shellWords } from '../../../agent/define/shell-words.ts'
import { planScript, type ScriptPlan, type ScriptWishes } from '../../../agent/define/start-script.ts'

const NEW_UUID = '11111111-2222-4333-8444-555555555555'

const plan = (args: readonly string[] | null, wishes: Partial<ScriptWishes> = {}, configuration = '{}'): ScriptPlan =>
  planScript(args === null ? null : commandText(['/usr/bin/qemu-system-x86_64', ...args]), configuration, {
    title: 'db1',
    name: null,
    newIds: false,
    disks: new Map([['vda', { file: 'vda.qcow2', format: 'qcow2' }]]),
    files: new Map(),
    isHere: (path) => path.startsWith('/usr/'),
    newUuid: () => NEW_UUID,
    newMac: () => '52:54:00:aa:bb:cc',
    ...wishes,
  })

/** What the script runs, as a shell reads it. */
const wordsOf = ({ script }: ScriptPlan): string[] => {
  const command = script.slice(script.indexOf('exec ') + 5).replace('"$@"', '')
  const printed = execFileSync('sh', ['-c', `printf '%s\\0' ${command}`], { encoding: 'utf8' })
  return printed.split('\0').slice(0, -1)
}

const DISK = ['-drive', 'if=none,id=vda,file=/old/vda.img,format=raw,cache=none', '-device', 'virtio-blk-pci,drive=vda']
const END = ['-vnc', 'unix:vnc.sock', '-qmp', 'unix:qmp.sock,server=on,wait=off']

test('words survive a shell, whatever they hold', () => {
  const words = ['qemu', '', "it's", '$(touch x) `y` "z" \\', '-a', 'line\nbreak', 'ü', '*', ';', '-m', '64']
  expect(shellWords(commandText(words))).toEqual(words)
  const script = plan([...DISK, '-name', "x';touch /tmp/evil;'$(id)"])
  expect(wordsOf(script)).toContain("guest=x';touch /tmp/evil;'$(id)")
})

test.for([
  [
    'a drive and its device',
    DISK,
    ['-drive', 'if=none,id=vda,cache=none,format=qcow2,file=vda.qcow2', '-device', 'virtio-blk-pci,drive=vda'],
  ],
  [
    'a node in JSON, of which a filter and a file lie below',
    [
      '-blockdev',
      '{"driver":"throttle","node-name":"n0","file":{"driver":"raw","file":{"driver":"file","filename":"/old"}}}',
      '-device',
      'scsi-hd,drive=n0,id=vda,bus=s.0',
    ],
    [
      '-blockdev',
      'driver=qcow2,node-name=n0,file.driver=file,file.filename=vda.qcow2',
      '-device',
      'scsi-hd,drive=n0,id=vda,bus=s.0',
    ],
  ],
  [
    'a drive with a device of its own',
    ['-drive', 'file=/old,if=virtio,id=vda'],
    ['-drive', 'if=virtio,id=vda,format=qcow2,file=vda.qcow2'],
  ],
] as const)('%s', ([, args, expected]) => {
  expect(wordsOf(plan(args))).toEqual(['/usr/bin/qemu-system-x86_64', ...expected, ...END])
})

test('disks by the names that QEMU gives them, and flash', () => {
  const disks = new Map(
    ['virtio0', 'ide0-hd1', 'pflash1'].map((disk) => [disk, { file: `${disk}.raw`, format: 'raw' }] as const),
  )
  const args = ['-drive', 'file=/a,if=virtio', '-hdb', '/b', '-drive', 'if=pflash,unit=1,file=/vars']
  const flash = ['-drive', 'if=pflash,unit=0,readonly=on,file=/old/code.fd']
  const files = new Map([['pflash0', 'attachments/pflash0']])
  const { remarks } = plan([...args, ...flash], { disks, files })
  expect(remarks).toEqual([])
  expect(wordsOf(plan([...args, ...flash], { disks, files })).filter((word) => word.includes('file='))).toEqual([
    'if=virtio,format=raw,file=virtio0.raw',
    'if=ide,index=1,format=raw,file=ide0-hd1.raw',
    'if=pflash,unit=1,format=raw,file=pflash1.raw',
    'if=pflash,unit=0,format=raw,readonly=on,file=attachments/pflash0',
  ])
})

test.for([
  ['-netdev', 'tap,id=n0,ifname=evil,script=/evil'],
  ['-netdev', 'user,id=n0,guestfwd=tcp:10.0.2.100:80-cmd:evil'],
  ['-nic', 'tap,script=/evil'],
  ['-chardev', 'file,id=c0,path=/evil'],
  ['-chardev', 'socket,id=c0,path=/evil,server=on,wait=off'],
  ['-serial', 'file:/evil'],
  ['-fsdev', 'local,id=f,path=/evil'],
  ['-virtfs', 'local,path=/evil,mount_tag=x'],
  ['-device', 'vfio-pci,host=evil'],
  ['-device', 'loader,file=/evil'],
  ['-device', 'virtio-net-pci,romfile=/evil,mac=52:54:00:00:00:01'],
  ['-device', '{"driver":"virtio-net-pci","addr=3,romfile":"/evil"}'],
  ['-object', '{"qom-type":"iothread","id":"a","x,y":"evil"}'],
  ['-machine', '{"type":"q35","usb=on,kernel":"/evil"}'],
  ['-smbios', '{"x":1},file=/evil'],
  ['-global', 'virtio-net-pci.romfile=/evil'],
  ['-global', 'virtio-net-pci.romfile=/evil,property=mac'],
  ['-global', 'driver=virtio-net-pci,property=romfile,value=/evil'],
  ['-object', 'memory-backend-file,id=m,mem-path=/evil'],
  ['-object', 'rng-random,id=r,filename=/evil'],
  ['-object', '{"qom-type":"secret","id":"s","file":"/evil"}'],
  ['-incoming', 'exec:evil'],
  ['-kernel', '/evil'],
  ['-fw_cfg', 'name=x,file=/evil'],
  ['-smbios', 'type=11,path=/evil'],
  ['-boot', 'menu=on,splash=/evil'],
  ['-machine', 'q35,firmware=/evil,memory-backend=m'],
  ['-audiodev', 'wav,id=a,path=/evil'],
  ['-readconfig', '/evil'],
  ['-monitor', 'unix:/evil,server'],
  ['-pidfile', '/evil'],
  ['-drive', 'file=/evil,media=cdrom'],
  ['-drive', 'file=/evil,if=virtio,id=other'],
  ['-blockdev', 'driver=file,node-name=x,filename=/evil'],
])('nothing of the host comes with %s %s', ([option, value]) => {
  expect(wordsOf(plan([...DISK, option!, value!])).join(' ')).not.toContain('evil')
})

test('what is no key, no value or no JSON is no way to another option', () => {
  // the kinds whose first value stands without its key
  expect(wordsOf(plan([...DISK, '-device', '{"driver":"virtio-net-pci","mac":"52:54:00:00:00:01"}']))).toContain(
    'virtio-net-pci,mac=52:54:00:00:00:01',
  )
  expect(optionText({ type: 'kernel=/x', usb: 'on' }, 'type')).toBe('type=kernel=/x,usb=on')
  // the next option is not its value, and what follows that no disk
  const empty = wordsOf(plan([...DISK, '-rtc', '', '-vga', '/evil']))
  expect(empty.slice(empty.indexOf('-rtc'))).toEqual(['-rtc', '', '-vga', '/evil', ...END])
  const global = ['-global', 'virtio-net-pci.mac=52:54:00:00:00:01']
  expect(wordsOf(plan([...DISK, ...global]))).toContain('driver=virtio-net-pci,property=mac,value=52:54:00:00:00:01')
})

test('ids of its own; a processor and a processor’s features stay as they were', () => {
  const args = [
    ...DISK,
    '-uuid',
    NEW_UUID.replaceAll('1', '9'),
    '-cpu',
    'host,-x2apic',
    '-device',
    'e1000,mac=52:54:00:00:00:01',
  ]
  const own = plan(args, { newIds: true, name: 'copy' })
  expect(own).toMatchObject({ name: 'copy', uuid: NEW_UUID })
  const words = wordsOf(own)
  for (const word of ['guest=copy', NEW_UUID, 'host,-x2apic', 'e1000,mac=52:54:00:aa:bb:cc'])
    expect(words).toContain(word)
})

test('without a command line the least that starts, and what it cannot know', () => {
  const configuration = JSON.stringify({ cpuCount: 3, memoryBytes: 512 * 1024 ** 2, architecture: 'x86_64' })
  const made = plan(null, { name: 'db1' }, configuration)
  expect(wordsOf(made)).toEqual([
    'qemu-system-x86_64',
    '-name',
    'guest=db1',
    '-uuid',
    NEW_UUID,
    '-machine',
    'q35,accel=kvm:tcg',
    '-m',
    '512',
    '-smp',
    '3',
    '-drive',
    'file=vda.qcow2,format=qcow2,if=virtio',
    '-nic',
    'user',
    ...END,
  ])
  expect(made.remarks.join()).toContain('guesses')
  for (const odd of ['no json', '[]', '{"cpuCount":"$(x)","architecture":"../x"}'])
    expect(plan(null, {}, odd).script).toContain('-smp 1')
})

test.for([[['/bin/sh', '-c', 'evil']], [['']], [["'"]]])('%s is no QEMU', ([args]) => {
  const wishes = { title: 'x', name: null, newIds: false, disks: new Map(), files: new Map(), isHere: () => true }
  const ids = { newUuid: () => NEW_UUID, newMac: () => '' }
  expect(() => planScript(args!.join(' '), '{}', { ...wishes, ...ids })).toThrow(
    expect.objectContaining({ code: 'DATA_DAMAGED' }),
  )
})
