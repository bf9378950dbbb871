// The driver `qmp` does what every driver must, with a real QEMU.

import { describe } from 'vitest'
import { threeDisks } from '../../../support/lease.ts'
import { qemuMajor } from '../../../support/qemu.ts'
import { driverSuite } from '../driver-suite.ts'
import { QmpSuiteHost } from './suite-host.ts'

// a QEMU that is too old for one way refuses it, which fleecing.test.ts shows
describe.each(qemuMajor() >= 9 ? (['on', 'off'] as const) : (['off'] as const))('fleecing = "%s"', (fleecing) => {
  driverSuite(async (folder, disks) => {
    const host = new QmpSuiteHost(folder, threeDisks(folder).slice(0, disks))
    host.fleecing = fleecing
    await host.start()
    return host
  })
})
