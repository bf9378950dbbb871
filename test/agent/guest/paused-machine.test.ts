// What a stopped domain's state is believed to be while calls on it are under way. Method: a libvirt that answers as told.
import { expect, test } from 'vitest'
import { libvirtRun } from '../../../agent/guest/paused-machine.ts'
import type { LibvirtCaller, LibvirtDomain, LibvirtDiskError } from '../../../agent/libvirt/types.ts'
import { VarveError } from '../../../protocol/errors.ts'

const domain: LibvirtDomain = { name: 'test', uuid: '', id: 1 }

test('a suspend under way is waited for before a domain counts as running', async () => {
  let told = { state: 'running', reason: 'booted' }
  const job = Promise.withResolvers<LibvirtDiskError[]>()
  const caller = { diskErrors: () => job.promise, domainState: () => Promise.resolve(told) }
  const look = libvirtRun(caller as unknown as LibvirtCaller, domain).look()
  told = { state: 'paused', reason: 'user' }
  job.resolve([])
  expect(await look).toEqual({ running: false, state: 'paused' })
})

test('where it cannot be waited for only a domain that does not run is believed', async () => {
  let state = 'running'
  const busy = new VarveError('LIBVIRT_ERROR', 'cannot acquire state change lock')
  const caller = { diskErrors: () => Promise.reject(busy), domainState: () => Promise.resolve({ state, reason: '' }) }
  const run = libvirtRun(caller as unknown as LibvirtCaller, domain)
  await expect(run.look()).rejects.toBe(busy)
  state = 'shutoff'
  expect(await run.look()).toEqual({ running: false, state: 'shutoff' })
})
