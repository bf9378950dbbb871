// Which addresses tenants' targets may be at: the internet at large, in every way an address can be written.
import { BlockList } from 'node:net'
import { networkInterfaces } from 'node:os'
import { expect, test } from 'vitest'
import { addressesOf, isLoopbackHost, isPublic } from '../../../gateway/notify/addresses.ts'

test.each([
  '127.0.0.1',
  '127.255.255.254',
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '169.254.169.254',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1',
  '192.0.0.1',
  '198.18.0.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::ffff:10.0.0.1',
  '::ffff:8.8.8.8',
  '::127.0.0.1',
  'fe80::1',
  'fd00::1',
  'fec0::1',
  'ff02::1',
  '64:ff9b::7f00:1',
  '2001:0:7f00:1::',
  '2002:7f00:1::',
  '2001:db8::1',
  'localhost',
  '',
])('%s is not of the internet', (address) => {
  expect(isPublic(address)).toBe(false)
})

test.each(['8.8.8.8', '172.15.0.1', '172.32.0.1', '100.128.0.1', '2606:4700::1', '2a00:1450:4001::2004'])(
  '%s is',
  (address) => {
    expect(isPublic(address)).toBe(true)
  },
)

test('of a name’s addresses only the allowed ones are left, and none is an error that names the way out', async () => {
  const addresses = ['10.0.0.1', '8.8.8.8', 'fd00::1'].map((address) => ({ address, family: 4 }))
  const reach = { anywhere: false, resolve: async () => addresses }
  expect(await addressesOf('hook.example', reach)).toEqual([{ address: '8.8.8.8', family: 4 }])
  expect(await addressesOf('hook.example', { ...reach, anywhere: true })).toHaveLength(3)
  const refused = addressesOf('hook.example', { ...reach, resolve: async () => addresses.slice(0, 1) })
  await expect(refused).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('notify_private') as string,
  })
  await expect(addressesOf('10.0.0.1', reach)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
})

test('a public address of this host, or of a network that it is in, is none for tenants', async () => {
  const own = new BlockList()
  own.addSubnet('2a00:1:2:3::9', 64, 'ipv6')
  own.addAddress('8.8.4.4', 'ipv4')
  const addresses = ['8.8.4.4', '2a00:1:2:3::17', '8.8.8.8'].map((address) => ({ address, family: 4 }))
  const reach = { anywhere: false, resolve: async () => addresses, own: () => own }
  expect(await addressesOf('hook.example', reach)).toEqual([{ address: '8.8.8.8', family: 4 }])
  expect(await addressesOf('hook.example', { ...reach, anywhere: true })).toHaveLength(3)
  await expect(addressesOf('8.8.4.4', reach)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  // as this host is
  const here = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  expect(here.length).toBeGreaterThan(0)
  for (const { address } of here)
    await expect(addressesOf(address, { anywhere: false, resolve: async () => [] })).rejects.toThrow('notify_private')
})

test('this host is known by its addresses and its name', () => {
  for (const host of ['localhost', 'LOCALHOST', '127.0.0.1', '127.1.2.3', '::1', '[::1]'])
    expect([host, isLoopbackHost(host)]).toEqual([host, true])
  for (const host of ['localhost.example', '128.0.0.1', '::2', 'mail.example', ''])
    expect([host, isLoopbackHost(host)]).toEqual([host, false])
})
