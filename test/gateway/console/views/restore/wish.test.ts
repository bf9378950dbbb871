// What a person wants restored, to the address and back.
import { expect, test } from 'vitest'
import { parseRoute, formatRoute, withQuery } from '../../../../../gateway/console/frame/route.ts'
import {
  NOWHERE,
  offered,
  placed,
  targetsOf,
  unplaced,
  wayChosen,
  wishOf,
} from '../../../../../gateway/console/views/restore/wish.ts'
import type { Point } from '../../../../../protocol/schemas.ts'

test('each step is in the address and comes back from it, whatever a disk is called', () => {
  const name = 'a b&c=d/ü?#'
  const route = withQuery(parseRoute('#/restore?point=3f2a&agent=x'), placed(name, '/srv/x y'))
  const again = wishOf(parseRoute(formatRoute(route)).query)
  expect([again.machine, again.point, again.agent, [...again.to]]).toEqual([null, '3f2a', 'x', [[name, '/srv/x y']]])
  expect([...wishOf(withQuery(route, unplaced(again)).query).to]).toEqual([])
})

test('a path is offered that is a file’s, whatever a disk is called', () => {
  const point = { machine: 'db1', timeMs: Date.UTC(2026, 10, 29) } as Point
  expect(offered('/srv/', point, 'vda', 'UTC')).toBe('/srv/db1-vda-2026-11-29.qcow2')
  expect(offered('/srv', point, '../x y', 'UTC')).toBe('/srv/db1-.._x_y-2026-11-29.qcow2')
})

test('the day in a name is the one of the zone that is shown, and nothing is offered without a folder', () => {
  const point = { machine: 'db1', timeMs: Date.parse('2026-11-29T23:30:00Z') } as Point
  expect(offered('/srv', point, 'vda', 'Europe/Berlin')).toBe('/srv/db1-vda-2026-11-30.qcow2')
  expect(offered(null, point, 'vda', 'UTC')).toBe(NOWHERE)
})

test('the way is in the address, and another way begins without places', () => {
  const route = withQuery(parseRoute('#/restore?point=3f2a&agent=x'), placed('vda', '/srv/x'))
  expect(wishOf(route.query).way).toBe('disks')
  const onto = withQuery(route, wayChosen(wishOf(route.query), 'onto'))
  expect(wishOf(parseRoute(formatRoute(onto)).query)).toMatchObject({ way: 'onto', folder: null, to: new Map() })
  const back = withQuery(onto, wayChosen(wishOf(onto.query), 'disks'))
  expect(formatRoute(back)).toBe('#/restore?point=3f2a&agent=x')
  expect(wishOf({ way: 'constructor' }).way).toBe('disks')
})

test('a whole machine goes into one folder, no two disks to one file; a disk that the point does not have goes nowhere', () => {
  const disks = ['a b', 'a_b', 'a?b', '\u{1f4be}'.repeat(200)].map((name) => ({ name }))
  const point = { machine: 'db1', timeMs: Date.UTC(2026, 10, 29), disks } as unknown as Point
  const whole = wishOf({ way: 'whole', folder: '/srv/x//' })
  const paths = [...targetsOf(whole, point, 'UTC').values()]
  expect(paths.slice(0, 3)).toEqual([
    '/srv/x/db1-a_b-2026-11-29.qcow2',
    '/srv/x/db1-a_b-2026-11-29-2.qcow2',
    '/srv/x/db1-a_b-2026-11-29-3.qcow2',
  ])
  expect(paths[3]!.split('/').at(-1)!.length).toBeLessThan(255)
  expect(targetsOf(wishOf({ way: 'whole' }), point, 'UTC').size).toBe(0)
  expect([...targetsOf(wishOf({ 'to:a b': '/x', 'to:gone': '/y' }), point, 'UTC')]).toEqual([['a b', '/x']])
})
