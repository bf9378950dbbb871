// The link of a machine: shared, back after a restart of QEMU, quiet after close.

import { expect, test } from 'vitest'
import { QmpLink } from '../../../agent/qmp/link.ts'
import { startMachine } from '../../support/qemu.ts'
import { eventually, tempFolder } from '../../support/temp.ts'

test('subscribers live through a restart of QEMU', async () => {
  await using folder = await tempFolder()
  await using machine = await startMachine({ folder: folder.path, disks: [] })
  await using link = new QmpLink({
    path: machine.qmpPath,
    wait: () => new Promise((resolve) => void setTimeout(resolve, 10)),
  })
  const events: string[] = []
  const states: string[] = []
  link.subscribe(({ event }) => void events.push(event))
  link.onState((state) => void states.push(state))
  expect(link.state).toBe('down')
  link.start()
  await eventually(() => link.state === 'up')
  const [one, two] = await Promise.all([link.client(), link.client()])
  expect(one).toBe(two)
  await machine.restart()
  await eventually(() => link.state === 'up' && states.includes('down'))
  await machine.control.execute('cont')
  await eventually(() => events.includes('RESUME'))
  expect(events).toContain('SHUTDOWN')
})

test('a link whose machine is gone says so at once and after close stays closed', async () => {
  await using folder = await tempFolder()
  const link = new QmpLink({ path: folder.join('none') })
  await expect(link.client()).rejects.toMatchObject({ code: 'QMP_UNAVAILABLE' })
  link.start()
  await link.close()
  await expect(link.client()).rejects.toMatchObject({
    code: 'QMP_UNAVAILABLE',
    message: expect.stringContaining('closed'),
  })
})
