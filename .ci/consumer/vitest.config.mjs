export default { test: { include: ['conformance.mjs'] } }
