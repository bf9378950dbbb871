// The methods of restores that people order and agents carry out.
import * as v from 'valibot'
import { audited, none, OPERATORS, PEOPLE, plain, streamOf } from './method.ts'
import { allowedPlaces, askedPlaces, restore, RESTORE_STATES, wantedDisks } from './restores.ts'
import * as s from './schemas.ts'

const restoreParams = v.object({ restore: s.uuid })

export const RESTORE_METHODS = {
  /** Where an agent lets restores write, as its configuration says, and what is at the places asked about. */
  'restores.places': {
    ...plain,
    roles: OPERATORS,
    params: v.object({ agent: s.uuid, places: askedPlaces }),
    result: v.object({ host: v.string(), ...allowedPlaces.entries }),
  },
  /** Has an agent write or compare disks of a point; ends once the agent has looked at all places, before it has written. */
  'restores.start': {
    ...audited,
    roles: OPERATORS,
    params: v.object({
      point: s.idPrefix,
      agent: s.uuid,
      disks: wantedDisks,
      /** Replaces the files and overwrites the devices that are there; of `onto` gives a file the disk's size. Never what is in use. */
      overwrite: v.boolean(),
    }),
    result: restoreParams,
  },
  /** Newest first by when they started. */
  'restores.list': {
    ...plain,
    roles: PEOPLE,
    params: v.object({
      ...s.page,
      machine: v.optional(v.nullable(s.name), null),
      state: v.optional(v.nullable(v.picklist(RESTORE_STATES)), null),
    }),
    result: v.object({ restores: s.rows(restore), next: s.next }),
  },
  /** Sends the restore now and after each change until it has ended. */
  'restores.watch': { ...plain, roles: PEOPLE, params: restoreParams, result: restore, down: streamOf(restore) },
  /** Ends a running restore; its agent removes what it has written. */
  'restores.cancel': { ...audited, roles: OPERATORS, params: restoreParams, result: none },
} as const
