// The configuration kept with a restore point.
import { expect, test } from 'vitest'
import { CONFIGURATION_BYTES_MAX, machineConfiguration } from '../../../agent/qmp/configuration.ts'
import { QmpClient, type QmpCaller } from '../../../agent/qmp/client.ts'
import { startMachine } from '../../support/qemu.ts'
import { tempFolder } from '../../support/temp.ts'
import { VarveError } from '../../../protocol/errors.ts'

test('of a real QEMU', async () => {
  await using folder = await tempFolder()
  const file = folder.join('a.qcow2')
  await using machine = await startMachine({
    folder: folder.path,
    name: 'db1',
    disks: [{ id: 'vda', format: 'qcow2', file, size: 1 << 20 }],
  })
  await using client = await QmpClient.connect({ path: machine.qmpPath })
  expect(await machineConfiguration(client)).toMatchObject({
    qemu: { major: client.version.major },
    name: 'db1',
    cpuCount: 1,
    architecture: 'x86_64',
    memoryBytes: 64 << 20,
    machineType: expect.stringContaining('q35'),
    disks: [{ name: 'vda', size: 1 << 20, format: 'qcow2', fileName: file }],
  })
})

test('what QEMU does not know is null, and too many disks are left out', async () => {
  const blocks = Array.from({ length: 200 }, (_, index) => ({
    device: `d${index}`,
    removable: false,
    inserted: { ro: false, 'node-name': `n${index}`, drv: 'raw' },
  }))
  const nodes = blocks.map(({ inserted }) => ({
    'node-name': inserted['node-name'],
    drv: 'raw',
    ro: false,
    image: { 'virtual-size': 1, filename: 'x'.repeat(1000) },
  }))
  const client: QmpCaller = {
    version: { major: 7, minor: 2, micro: 0 },
    closed: new Promise(() => undefined),
    subscribe: () => () => undefined,
    execute: (command) => {
      if (command === 'query-block') return Promise.resolve(blocks)
      if (command === 'query-named-block-nodes') return Promise.resolve(nodes)
      return Promise.reject(new VarveError('QMP_ERROR', 'unknown command'))
    },
  }
  const configuration = await machineConfiguration(client)
  expect(configuration).toMatchObject({ qemu: null, name: null, memoryBytes: null, disks: null })
  expect(JSON.stringify(configuration).length).toBeLessThan(CONFIGURATION_BYTES_MAX)
})
