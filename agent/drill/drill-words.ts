// A machine's QEMU options as a drill starts it: without a network or anything of the host, within limits, and with the drill's
// own sockets in place of the machine's. Whatever is not known is left out. Pure.
import { isOwnProperty, optionText } from '../define/qemu-devices.ts'
import { givenOf, type Given } from '../processes/given-options.ts'
import { parseOptions } from '../processes/option-text.ts'

/** Sockets in the folder in which QEMU runs. */
export const QMP_SOCKET = 'qmp.sock'
/** A second one, for the command of a check. */
export const COMMAND_SOCKET = 'command.sock'
export const SERIAL_SOCKET = 'serial.sock'
export const GUEST_AGENT_SOCKET = 'guest-agent.sock'

const GUEST_AGENT_PORT = 'org.qemu.guest_agent.0'

/** Ids of the drill's own character devices, which no device of the machine can name. */
const SERIAL_ID = 'varve-drill-serial'
const AGENT_ID = 'varve-drill-agent'

export interface DrillLimits {
  readonly accelerator: 'kvm' | 'tcg'
  readonly memoryMib: number
  readonly cpus: number
}

export interface DrillWords {
  /** Options with their values, without the program. */
  readonly words: readonly string[]
  /** It has a channel on which a guest agent may answer. */
  readonly hasGuestAgent: boolean
}

/** Options that stay as they are. */
const KEPT = new Set(
  'rtc nodefaults no-user-config no-hpet no-acpi no-reboot vga usb watchdog watchdog-action compat uuid smbios drive blockdev audiodev'.split(
    ' ',
  ),
)

const CARDS = /^(?:virtio-net|e1000|igb|rtl8139|vmxnet3|ne2k_pci|pcnet|i8\d)/u
/** Cards whose firmware would wait for a network to boot from. */
const BOOTING_CARDS = /^(?:virtio-net-pci|e1000e?|rtl8139|vmxnet3|igb)/u

const OBJECTS = new Set(['iothread', 'rng-builtin', 'rng-random', 'throttle-group'])

/** What the machine type cannot have here. */
const NOT_OF_THE_MACHINE = /^(?:accel|memory-backend|memory-encryption|confidential-guest-support|dump-guest-core)$/u
const OF_KVM = /^(?:kernel[_-]irqchip|kvm-type|.*-eoi)$/u

const without = (text: string, implied: string, keys: RegExp): string =>
  optionText(new Map([...parseOptions(text, implied)].filter(([key]) => !keys.test(key))), implied)

class Drilling {
  readonly #limits: DrillLimits
  readonly #sockets: readonly string[]
  #hasSerial: boolean
  hasGuestAgent = false

  constructor(given: readonly Given[], limits: DrillLimits) {
    this.#limits = limits
    this.#sockets = given.filter(({ option }) => option === 'serial').map(({ value }) => value)
    // the first port is the console, by whichever option the machine has it
    this.#hasSerial = this.#sockets.some((value) => value !== 'none')
  }

  get lacksSerial(): boolean {
    return !this.#hasSerial
  }

  #isFirstSerial = true

  serial(value: string): string[] {
    if (value === 'none') return ['-serial', 'none']
    const isFirst = this.#isFirstSerial
    this.#isFirstSerial = false
    return ['-serial', isFirst ? `chardev:${SERIAL_ID}` : 'null']
  }

  machine(value: string): string[] {
    const kept = without(value, 'type', NOT_OF_THE_MACHINE)
    return ['-machine', this.#limits.accelerator === 'kvm' ? kept : without(kept, 'type', OF_KVM)]
  }

  processor(value: string): string[] {
    if (this.#limits.accelerator === 'kvm') return ['-cpu', value]
    // what KVM's processors have cannot be emulated in full
    return ['-cpu', 'max']
  }

  object(value: string): string[] {
    return OBJECTS.has(parseOptions(value, 'qom-type').get('qom-type') ?? '') ? ['-object', value] : []
  }

  name(value: string): string[] {
    return ['-name', optionText({ guest: `drill of ${parseOptions(value, 'guest').get('guest') ?? 'a machine'}` })]
  }

  boot(value: string): string[] {
    return ['-boot', without(value, 'order', /^(?:menu|splash.*|reboot-timeout)$/u)]
  }

  global(value: string): string[] {
    const options = parseOptions(value)
    const property = options.get('property') ?? [...options.keys()][0]?.split('.').at(-1) ?? ''
    return isOwnProperty(property) ? ['-global', value] : []
  }

  device(value: string): string[] {
    const options = new Map(parseOptions(value, 'driver'))
    const driver = options.get('driver') ?? ''
    if (CARDS.test(driver)) {
      // the card is there, with nothing at its other end
      options.delete('netdev')
      options.delete('vlan')
      if (BOOTING_CARDS.test(driver)) options.set('romfile', '')
      return ['-device', optionText(options, 'driver')]
    }
    if (!options.has('chardev')) return ['-device', value]
    if (driver === 'virtserialport' && options.get('name') === GUEST_AGENT_PORT && !this.hasGuestAgent) {
      this.hasGuestAgent = true
      return ['-device', optionText(options.set('chardev', AGENT_ID), 'driver')]
    }
    if (!this.#hasSerial && /^(?:(?:isa|pci)-serial|virtconsole)$/u.test(driver)) {
      this.#hasSerial = true
      return ['-device', optionText(options.set('chardev', SERIAL_ID), 'driver')]
    }
    const id = `varve-drill-${this.#nothings++}`
    return ['-chardev', `null,id=${id}`, '-device', optionText(options.set('chardev', id), 'driver')]
  }

  #nothings = 0
}

const socket = (id: string, path: string): string[] => ['-chardev', `socket,id=${id},path=${path},server=on,wait=off`]

const RULES: Readonly<Record<string, (drilling: Drilling, value: string) => string[]>> = {
  serial: (drilling, value) => drilling.serial(value),
  machine: (drilling, value) => drilling.machine(value),
  M: (drilling, value) => drilling.machine(value),
  cpu: (drilling, value) => drilling.processor(value),
  object: (drilling, value) => drilling.object(value),
  name: (drilling, value) => drilling.name(value),
  boot: (drilling, value) => drilling.boot(value),
  global: (drilling, value) => drilling.global(value),
  device: (drilling, value) => drilling.device(value),
}

/** The options of a drill, of options that name nothing of another host; it begins stopped, until QMP says `cont`. */
export const drillWords = (words: readonly string[], limits: DrillLimits): DrillWords => {
  const given = givenOf(words)
  const drilling = new Drilling(given, limits)
  const moved = given.flatMap(({ option, value }) => {
    if (Object.hasOwn(RULES, option)) return RULES[option]!(drilling, value)
    if (!KEPT.has(option)) return []
    return value === '' ? [`-${option}`] : [`-${option}`, value]
  })
  const { hasGuestAgent } = drilling
  return {
    words: [
      '-S',
      ...socket(SERIAL_ID, SERIAL_SOCKET),
      ...(hasGuestAgent ? socket(AGENT_ID, GUEST_AGENT_SOCKET) : []),
      ...moved,
      ...(drilling.lacksSerial ? ['-serial', `chardev:${SERIAL_ID}`] : []),
      '-accel',
      limits.accelerator,
      '-m',
      String(limits.memoryMib),
      '-smp',
      String(limits.cpus),
      '-nic',
      'none',
      '-display',
      'none',
      '-monitor',
      'none',
      ...[QMP_SOCKET, COMMAND_SOCKET].flatMap((name) => ['-qmp', `unix:${name},server=on,wait=off`]),
    ],
    hasGuestAgent,
  }
}
