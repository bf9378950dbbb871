// The table [discover] of a configuration, and what is said of one that is wrong.
import { expect, test } from 'vitest'
import { parseConfig } from '../../../agent/config.ts'

const read = (table: string): ReturnType<typeof parseConfig> =>
  parseConfig('f', `gateway = "wss://x"\n[discover]\n${table}`)

test('its defaults, and all of it', () => {
  expect(read('libvirt = "qemu:///system"\n').discover).toEqual({
    libvirt: 'qemu:///system',
    include: ['*'],
    exclude: [],
  })
  const all = 'libvirt = "qemu:///session?socket=/run/x"\ninclude = ["a*"]\nexclude = ["b?"]\n'
  expect(read(all).discover).toEqual({ libvirt: 'qemu:///session?socket=/run/x', include: ['a*'], exclude: ['b?'] })
})

test.each([
  ['', /discover\.libvirt: expected a text, found nothing|libvirt/u],
  ['libvirt = true\n', /discover\.libvirt/u],
  ['libvirt = "xen:///"\n', /it takes qemu:\/\/\/system and qemu:\/\/\/session/u],
  ['libvirt = "qemu+ssh://host/system"\n', /an agent on each host/u],
  ['libvirt = "qemu:///system"\ninclde = ["a"]\n', /did you mean "include"/u],
  ['libvirt = "qemu:///system"\ninclude = "a"\n', /discover\.include/u],
  ['libvirt = "qemu:///system"\nexclude = [""]\n', /discover\.exclude/u],
])('%s', (table, message) => {
  expect(() => read(table)).toThrow(message)
  expect(() => read(table)).toThrow(/^f: /u)
})
