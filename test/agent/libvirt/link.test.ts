// The link to libvirt: shared, back after the daemon was killed and started again, quiet after close.
import { expect, test } from 'vitest'
import { LibvirtLink } from '../../../agent/libvirt/link.ts'
import type { LibvirtEvent } from '../../../agent/libvirt/types.ts'
import { startLibvirt } from '../../support/libvirt.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

test('subscribers live through a daemon that is killed and started again', async () => {
  await using folder = await tempFolder()
  await using libvirt = await startLibvirt({ folder: folder.path })
  await using link = new LibvirtLink({
    uri: libvirt.uri,
    wait: () => new Promise((resolve) => void setTimeout(resolve, 10)),
  })
  const events: LibvirtEvent[] = []
  const states: string[] = []
  link.subscribe((event) => void events.push(event))
  link.onState((state) => void states.push(state))
  expect(link.state).toBe('down')
  link.start()
  await eventually(() => link.state === 'up')
  const [one, two] = await Promise.all([link.client(), link.client()])
  expect(one).toBe(two)
  await libvirt.restart('SIGKILL')
  await expect(one.listAllDomains()).rejects.toMatchObject({ code: 'LIBVIRT_UNAVAILABLE' })
  await eventually(() => link.state === 'up' && states.includes('down'))
  const machine = await libvirt.define({ name: 'later', disks: [] })
  await eventually(() => events.length > 0)
  expect(events).toEqual([{ kind: 'lifecycle', domain: machine.domain, event: 'defined', detail: 'other' }])
})

test('a link whose daemon is gone says so at once and after close stays closed', async () => {
  await using folder = await tempFolder()
  const link = new LibvirtLink({ uri: `qemu:///system?socket=${folder.join('none')}` })
  await expect(link.client()).rejects.toMatchObject({ code: 'LIBVIRT_UNAVAILABLE', details: { errno: 'ENOENT' } })
  link.start()
  await link.close()
  await expect(link.client()).rejects.toMatchObject({
    code: 'LIBVIRT_UNAVAILABLE',
    message: expect.stringContaining('closed'),
  })
})
