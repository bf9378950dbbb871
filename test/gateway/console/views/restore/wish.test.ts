// What a person wants restored, to the address and back.
import { expect, test } from 'vitest'
import { parseRoute, formatRoute, withQuery } from '../../../../../gateway/console/frame/route.ts'
import {
  atHost,
  NOWHERE,
  offered,
  placed,
  unplaced,
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

test('the command for the host can be pasted as it is', () => {
  const id = '3f2a91c0-0000-4000-8000-000000000000'
  expect(atHost(id, [{ disk: 'vda', to: '/srv/a.raw' }])).toBe(
    'varve-agent restore 3f2a91c0 --disk vda --to /srv/a.raw',
  )
  expect(atHost(id, [{ disk: "it's $(x)", to: '/srv/a b' }])).toContain(`--disk 'it'\\''s $(x)' --to '/srv/a b'`)
})
