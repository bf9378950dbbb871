// Follows the domains of a libvirt that a test plays: by events, by a look now and then, and while it is away.
import { expect, test } from 'vitest'
import { Follower } from '../../../agent/discover/follower.ts'
import { openLog } from '../../../protocol/host/log.ts'
import { HandClock, settle } from '../../support/hand-clock.ts'
import { PlayedLibvirt } from '../../support/played-libvirt.ts'

const LOOK_MS = 60_000

interface Scene {
  readonly libvirt: PlayedLibvirt
  readonly follower: Follower
  readonly clock: HandClock
  readonly told: string[]
  readonly opened: string[]
}

const scene = (): Scene => {
  const libvirt = new PlayedLibvirt()
  const clock = new HandClock()
  const told: string[] = []
  const opened: string[] = []
  const follower = new Follower({
    onDomains: (domains) => void told.push(domains.map(({ name }) => name).join(' ')),
    clock,
    log: openLog({ level: 'silent' }),
    open: (uri) => {
      opened.push(uri)
      return libvirt
    },
  })
  return { libvirt, follower, clock, told, opened }
}

test('domains are told when they are listed first, and when they are other ones', async () => {
  const { libvirt, follower, clock, told } = scene()
  await follower.looked
  libvirt.domains = ['a']
  follower.follow('qemu:///system')
  await follower.looked
  expect(told).toEqual(['a'])
  libvirt.domains = ['a', 'b']
  libvirt.happens('defined')
  await settle()
  expect(told).toEqual(['a'])
  await clock.advanceSettled(1000)
  expect(told).toEqual(['a', 'a b'])
  libvirt.happens('resumed')
  await clock.advanceSettled(1000)
  expect(libvirt.lists).toBe(2)
  // an event may be lost
  libvirt.domains = ['b']
  await clock.advanceSettled(LOOK_MS)
  expect(told).toEqual(['a', 'a b', 'b'])
  await clock.advanceSettled(LOOK_MS)
  expect(told).toHaveLength(3)
})

test('what happens during a listing is not missed', async () => {
  const { libvirt, follower, clock, told } = scene()
  const { promise, resolve } = Promise.withResolvers<void>()
  libvirt.gate = promise
  follower.follow('qemu:///system')
  await settle()
  libvirt.domains = ['a']
  libvirt.happens('defined')
  resolve()
  await follower.looked
  expect(told).toEqual([''])
  await clock.advanceSettled(1000)
  expect(told).toEqual(['', 'a'])
})

test('a libvirt that is away takes nothing away, and is asked again', async () => {
  const { libvirt, follower, clock, told } = scene()
  libvirt.domains = ['a']
  follower.follow('qemu:///system')
  await follower.looked
  libvirt.away = true
  await clock.advanceSettled(LOOK_MS)
  expect(told).toEqual(['a'])
  libvirt.domains = []
  libvirt.comesBack()
  await clock.advanceSettled(1)
  expect(told).toEqual(['a', ''])
})

test('one that is away from the start is waited for no longer than its first answer', async () => {
  const { libvirt, follower, clock, told } = scene()
  libvirt.away = true
  follower.follow('qemu:///system')
  await follower.looked
  libvirt.away = false
  libvirt.domains = ['a']
  await clock.advanceSettled(LOOK_MS)
  expect(told).toEqual(['a'])
})

test('another libvirt is followed instead, and the one before is let go', async () => {
  const { libvirt, follower, clock, opened } = scene()
  expect(follower.follow('qemu:///system')).toBe(true)
  expect(follower.follow('qemu:///system')).toBe(false)
  await follower.looked
  expect(follower.follow('qemu:///session')).toBe(true)
  expect(opened).toEqual(['qemu:///system', 'qemu:///session'])
  expect(libvirt.closed).toBe(true)
  await follower[Symbol.asyncDispose]()
  await settle()
  expect(clock.waiting).toBe(0)
})
