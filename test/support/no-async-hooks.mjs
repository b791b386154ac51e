// Tap follows every promise and timer by an async hook, to tell which test an uncaught error belongs to. This takes up to
// half of the processor time. Without the hook an uncaught error ends the whole file, which fails.
// The first hook of a process is tap's.
import asyncHooks from 'node:async_hooks'
import { syncBuiltinESMExports } from 'node:module'

const { createHook } = asyncHooks
asyncHooks.createHook = () => {
  asyncHooks.createHook = createHook
  syncBuiltinESMExports()
  return createHook({})
}
syncBuiltinESMExports()
