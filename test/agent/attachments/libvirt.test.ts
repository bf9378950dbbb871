// What libvirt's XML says of a domain's files: in each of the forms that its releases write, and in hostile ones.
import { expect, test } from 'vitest'
import { libvirtAttachments } from '../../../agent/attachments/libvirt.ts'

const UUID = '0192aaaa-0000-4000-8000-0000c0ffee42'

const domain = (os: string, devices = ''): string =>
  `<domain type='kvm'><name>db1</name><uuid>${UUID}</uuid><os>${os}</os><devices>${devices}</devices></domain>`

const of = (xml: string, rest: object = {}) =>
  libvirtAttachments({ xml, autostart: true, uri: 'qemu:///system', ...rest }).map((source) => {
    const { name } = source
    if ('bytes' in source) return [name, new TextDecoder().decode(source.bytes)]
    return [name, 'path' in source ? source.path : `missing: ${source.missing}`]
  })

test('a domain without firmware and TPM has its XML and whether it starts by itself', () => {
  const xml = domain("<type machine='q35'>hvm</type>")
  expect(of(xml)).toEqual([
    ['domain.xml', xml],
    ['autostart', 'yes\n'],
  ])
  expect(of(xml, { autostart: false })[1]).toEqual(['autostart', 'no\n'])
  expect(of(xml, { autostart: null })).toHaveLength(1)
})

test('firmware and NVRAM, as text and with a source of their own', () => {
  const code = "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader>"
  const files = [
    ['nvram', '/var/lib/libvirt/qemu/nvram/db1_VARS.fd'],
    ['pflash0', '/usr/share/OVMF/OVMF_CODE.fd'],
  ]
  expect(of(domain(`${code}<nvram template='/t.fd'>/var/lib/libvirt/qemu/nvram/db1_VARS.fd</nvram>`)).slice(2)).toEqual(
    files,
  )
  const source = "<nvram type='file'><source file='/var/lib/libvirt/qemu/nvram/db1_VARS.fd'/></nvram>"
  expect(of(domain(code + source)).slice(2)).toEqual(files)
  // a BIOS is no flash, a template alone no file yet, and what lies on a network is no file of the host
  expect(of(domain("<loader type='rom'>/seabios.bin</loader><nvram template='/t.fd'/>")).slice(2)).toEqual([])
  expect(of(domain("<nvram type='network'><source protocol='nbd' name='x'/></nvram>")).slice(2)).toEqual([
    ['nvram', 'missing: it is on no file of this host'],
  ])
})

test('the state of an emulated TPM is where its libvirt keeps it', () => {
  const tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
  expect(of(domain('', tpm)).slice(2)).toEqual([['swtpm', `/var/lib/libvirt/swtpm/${UUID}`]])
  expect(of(domain('', tpm), { swtpmFolder: '/x' }).slice(2)).toEqual([['swtpm', `/x/${UUID}`]])
  const before = process.env['XDG_CONFIG_HOME']
  process.env['XDG_CONFIG_HOME'] = '/users/me/conf'
  try {
    expect(of(domain('', tpm), { uri: 'qemu:///session?socket=/run/x' }).slice(2)).toEqual([
      ['swtpm', `/users/me/conf/libvirt/qemu/swtpm/${UUID}`],
    ])
  } finally {
    if (before === undefined) delete process.env['XDG_CONFIG_HOME']
    else process.env['XDG_CONFIG_HOME'] = before
  }
  const own = "<tpm><backend type='emulator'><source type='dir' path='/tpm/db1'/></backend></tpm>"
  expect(of(domain('', own)).slice(2)).toEqual([['swtpm', '/tpm/db1']])
  expect(of(domain('', "<tpm><backend type='passthrough'/></tpm>")).slice(2)).toEqual([])
})

test('a uuid that leads elsewhere, and XML that is none, are not followed', () => {
  const tpm = "<devices><tpm><backend type='emulator'/></tpm></devices>"
  expect(of(`<domain><uuid>../../../etc</uuid>${tpm}</domain>`).slice(2)).toEqual([
    ['swtpm', expect.stringContaining('missing: ')],
  ])
  expect(of('<domain').slice(2)).toEqual([['nvram', expect.stringContaining('missing: ')]])
})
