// Roles and the shapes of token payloads.
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import {
  assertionPayloadSchema,
  enrolmentAudience,
  enrolmentPayloadSchema,
  isRole,
  personPayloadSchema,
  ROLES,
  SUBJECT_CHARS_MAX,
  TOKEN_TYPE,
} from '../../protocol/claims.ts'

const id = '3f0a8a54-6a0e-4c5d-9a06-0d4f5f0c4d11'
const times = { iat: 1, exp: 2 }
const person = { iss: 'varve:x', aud: 'varve:x', sub: 'ann', jti: id, tenant: id, role: 'viewer', ...times }
const enrolment = { iss: 'varve:x', aud: 'varve:x:enrol', jti: id, tenant: id, ...times }
const assertion = { iss: id, sub: id, aud: 'varve:x', jti: id, ...times }

describe('roles', () => {
  test('only the listed ones are roles', () => {
    expect(ROLES.every(isRole)).toBe(true)
    expect(['', 'Owner', 'admin', 'toString', '__proto__'].filter(isRole)).toEqual([])
  })

  test('every kind of token has a type of its own', () => {
    expect(new Set(Object.values(TOKEN_TYPE)).size).toBe(3)
  })

  test('an enrolment token is for another audience than a connection', () => {
    expect(enrolmentAudience('varve:x')).not.toBe('varve:x')
  })
})

describe('payloads', () => {
  test.each([
    ['person', personPayloadSchema, person],
    ['enrolment', enrolmentPayloadSchema, enrolment],
    ['assertion', assertionPayloadSchema, assertion],
  ] as const)('%s: whole with every claim, broken without any one of them', (_, schema, payload) => {
    expect(v.parse(schema, payload)).toEqual(payload)
    for (const name of Object.keys(payload)) expect(v.is(schema, { ...payload, [name]: undefined }), name).toBe(false)
  })

  test('unknown claims are left out', () => {
    expect(v.parse(personPayloadSchema, { ...person, extra: 1 })).toEqual(person)
  })

  test.each([
    ['a person with the role of an agent', { role: 'agent' }],
    ['an unknown role', { role: 'root' }],
    ['a list of roles', { role: ['owner'] }],
    ['an empty subject', { sub: '' }],
    ['a long subject', { sub: 'x'.repeat(SUBJECT_CHARS_MAX + 1) }],
    ['a list of audiences', { aud: ['varve:x'] }],
    ['a tenant that is no uuid', { tenant: 'acme' }],
    ['an expiry as text', { exp: '2' }],
    ['a fraction of a second', { exp: 2.5 }],
    ['a number past exactness', { exp: 2 ** 60 }],
    ['a negative time', { nbf: -1 }],
  ])('refused: %s', (_, change) => {
    expect(v.is(personPayloadSchema, { ...person, ...change })).toBe(false)
  })
})
