// The names of the views, as the navigation has them, in English.

export const views = {
  tenants: 'Tenants',
  protection: 'Protection',
  days: 'Days',
  running: 'Running',
  events: 'Events',
  restore: 'Restore',
  datastore: 'Datastore',
  plans: 'Plans',
  people: 'People and things',
  machine: 'Machine',
  changes: 'Change map',
} as const
