// Where these examples find Webflow: at the origin WEBFLOW_URL, of a gateway or a simulator, if the environment has one.
// An app of your own leaves out `endpoints`, which defaults to Webflow.
const { WEBFLOW_URL } = process.env

/** The plugin's option. */
export const endpoints = WEBFLOW_URL
  ? {
      authorize: `${WEBFLOW_URL}/oauth/authorize`,
      token: `${WEBFLOW_URL}/oauth/access_token`,
      revoke: `${WEBFLOW_URL}/oauth/revoke_authorization`
    }
  : undefined

/** The option of Webflow's SDK for a program without the plugin. With it, this is `fastify.webflowOAuth.apiUrl`. */
export const baseUrl = WEBFLOW_URL ? `${WEBFLOW_URL}/v2` : 'https://api.webflow.com/v2'
