// Says why a server does not run any more, in a Lab that is still open. In the place of JupyterLab's own
// "@jupyterlab/hub-extension:connectionlost" (lab/singleuser.py disables it), which says only that it does not run.
// A prebuilt extension as JupyterLab loads it, written by hand: it needs no build.
(function () {
  let scope;

  // What JupyterLab shares under this name.
  async function shared(name) {
    const versions = Object.values(scope[name]);
    return (await versions[0].get())();
  }

  // The hub's answer for a server that does not run; "" where there is nothing to say.
  async function reason(base) {
    try {
      const answer = await fetch(`${base}api/status`, { headers: { Accept: "application/json" } });
      const said = answer.status === 424 ? await answer.json() : {};
      return said.ended ? said.message : "";
    } catch (error) {
      return "";
    }
  }

  async function plugin() {
    const { IConnectionLost, ConnectionLost, JupyterFrontEnd, JupyterLab } = await shared("@jupyterlab/application");
    const { Dialog, showDialog } = await shared("@jupyterlab/apputils");
    const { ITranslator } = await shared("@jupyterlab/translation");
    return {
      id: "@manylab/lab:connectionlost",
      autoStart: true,
      requires: [JupyterFrontEnd.IPaths, ITranslator],
      optional: [JupyterLab.IInfo],
      provides: IConnectionLost,
      activate: (app, paths, translator, info) => {
        const trans = translator.load("jupyterlab");
        const base = paths.urls.base;
        if (!paths.urls.hubPrefix) return ConnectionLost;
        let shown = false;
        return async () => {
          if (shown) return;
          shown = true;
          if (info) info.isConnected = false;
          const said = await reason(base);
          const asked = trans.__("Your server at %1 is not running.\nWould you like to restart it?", base);
          const result = await showDialog({
            title: trans.__("Server unavailable or unreachable"),
            body: said ? `${said}\n\n${asked}` : asked,
            buttons: [
              Dialog.okButton({ label: trans.__("Restart") }),
              Dialog.cancelButton({ label: trans.__("Dismiss") }),
            ],
          });
          if (info) info.isConnected = true;
          shown = false;
          if (result.button.accept) await app.commands.execute("hub:restart");
        };
      },
    };
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["@manylab/lab"] = {
    init: (all) => {
      scope = all;
    },
    get: async () => {
      const made = await plugin();
      return () => ({ __esModule: true, default: made });
    },
  };
})();
