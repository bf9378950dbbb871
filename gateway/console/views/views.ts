// Which views there are, in the order of the navigation: each in a file of its own, loaded when somebody goes there.
import type { ComponentType } from 'preact'
import type { MethodName } from '../../../protocol/methods.ts'
import type { views as names } from '../texts/views.ts'

export interface View {
  readonly name: keyof typeof names
  /** It is for those who may call this method. */
  readonly needs: MethodName
  /** Whether the navigation has it; others are reached from views. */
  readonly isListed: boolean
  readonly load: () => Promise<ComponentType>
}

export const VIEWS: readonly View[] = [
  {
    name: 'tenants',
    needs: 'coverage.tenants',
    isListed: true,
    load: async () => (await import('./people/tenants.tsx')).TenantsFirst,
  },
  {
    name: 'protection',
    needs: 'coverage.list',
    isListed: true,
    load: async () => (await import('./protection/protection.tsx')).Protection,
  },
  {
    name: 'days',
    needs: 'coverage.days',
    isListed: true,
    load: async () => (await import('./days/days.tsx')).Days,
  },
  {
    name: 'machine',
    needs: 'points.list',
    isListed: false,
    load: async () => (await import('./machine/machine.tsx')).MachineView,
  },
  {
    name: 'changes',
    needs: 'points.changes',
    isListed: false,
    load: async () => (await import('./changes/changes.tsx')).ChangesView,
  },
  {
    name: 'restore',
    needs: 'restores.list',
    isListed: true,
    load: async () => (await import('./restore/restore.tsx')).RestoreView,
  },
  {
    name: 'datastore',
    needs: 'store.growth',
    isListed: true,
    load: async () => (await import('./datastore/datastore.tsx')).Datastore,
  },
  {
    name: 'plans',
    needs: 'plans.timeline',
    isListed: true,
    load: async () => (await import('./plans/plans.tsx')).Plans,
  },
  {
    name: 'running',
    needs: 'jobs.list',
    isListed: true,
    load: async () => (await import('./running/running.tsx')).Running,
  },
  {
    name: 'events',
    needs: 'events.list',
    isListed: true,
    load: async () => (await import('./events/events.tsx')).Events,
  },
  {
    name: 'people',
    // everybody but viewers has something to see there
    needs: 'notify.targets',
    isListed: true,
    load: async () => (await import('./people/people.tsx')).People,
  },
]
