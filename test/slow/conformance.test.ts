import t from 'tap'
import { failuresOf, isFairMessage, testsOf } from '../support/store-verdicts.ts'
import { wrongStores } from '../support/wrong-stores.ts'

t.test('the whole suite against each store that is subtly wrong: whatever fails says what the contract says and what the store did', async (t) => {
  for (const { name, caughtBy, ...made } of wrongStores) {
    const failures = await failuresOf(testsOf(made))
    t.strictSame(caughtBy.filter((title) => !failures.has(title)), [], name)
    for (const [title, error] of failures) if (!isFairMessage(title, error)) t.fail(`${name}: ${String(error)}`)
  }
})
