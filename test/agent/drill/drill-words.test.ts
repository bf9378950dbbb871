// The options of a drill: no network, nothing of the host, its own sockets, its limits.
import { expect, test } from 'vitest'
import { drillWords, type DrillLimits } from '../../../agent/drill/drill-words.ts'

const KVM: DrillLimits = { accelerator: 'kvm', memoryMib: 512, cpus: 2 }
const TCG: DrillLimits = { ...KVM, accelerator: 'tcg' }

const words = (text: string, limits = KVM): string => drillWords(text.split(' '), limits).words.join(' ')

test('cards stay, connected to nothing', () => {
  const made = words('-netdev user,id=n0 -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01 -nic user -net nic')
  expect(made).toContain('-device virtio-net-pci,mac=52:54:00:00:00:01,romfile=')
  expect(made).toContain('-nic none')
  expect(made).not.toMatch(/-netdev|user|-net /u)
})

test('memory, processors and accelerator are those of the drill', () => {
  const made = words(
    '-m 64G -smp 32,sockets=2 -enable-kvm -accel hax -machine q35,accel=xen,kernel-irqchip=split -cpu host',
    TCG,
  )
  expect(made).toContain('-machine q35 -cpu max')
  expect(made).toContain('-accel tcg -m 512 -smp 2')
  expect(made).not.toMatch(/64G|32|xen|hax|irqchip/u)
  expect(words('-cpu host,migratable=off')).toContain('-cpu host,migratable=off')
})

test('the console is the first serial port, whichever option has it', () => {
  const first = words('-serial null -serial null')
  expect(first.match(/-serial chardev:varve-drill-serial/gu)).toHaveLength(1)
  expect(words('-device isa-serial,chardev=c0')).toContain('isa-serial,chardev=varve-drill-serial')
  expect(words('-machine q35')).toContain('-serial chardev:varve-drill-serial')
})

test('the channel of a guest agent gets a socket of the drill, other devices nothing', () => {
  const agent = 'virtserialport,chardev=qga,name=org.qemu.guest_agent.0'
  const made = drillWords(
    ['-chardev', 'socket,id=qga,path=/run/x', '-device', agent, '-device', 'virtserialport,chardev=spice,name=s'],
    KVM,
  )
  expect(made.hasGuestAgent).toBe(true)
  const text = made.words.join(' ')
  expect(text).toContain('virtserialport,chardev=varve-drill-agent,name=org.qemu.guest_agent.0')
  expect(text).toContain('-chardev null,id=varve-drill-0 -device virtserialport,chardev=varve-drill-0,name=s')
  expect(text).not.toContain('/run/x')
  expect(drillWords([], KVM).hasGuestAgent).toBe(false)
})

test('what is not known is left out, and it begins stopped', () => {
  const made = words(
    '-daemonize -pidfile /run/x -vnc :0 -overcommit mem-lock=on -object secret,id=s,file=/etc/shadow -qmp unix:/a',
  )
  expect(made).not.toMatch(/daemonize|\/run|vnc|mem-lock|shadow|unix:\/a/u)
  expect(made.startsWith('-S ')).toBe(true)
})
