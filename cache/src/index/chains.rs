//! Layers of images from outside: chain id → the layer that was unpacked on the layers below it.

use kiln_core::{Digest, LayerId, Snapshot};
use rusqlite::params;

use super::actions::Table;
use super::{Index, IndexError};

impl Index {
    /// The layer at the top of a chain (image-spec, config.md#layer-chainid), if it is there.
    pub fn chain(&self, chain_id: &Digest) -> Result<Option<LayerId>, IndexError> {
        match self.action(Table::Chains, chain_id.as_bytes())? {
            Some(layers) => {
                Ok(self.present(Snapshot { layers })?.and_then(|found| found.layers.first().copied()))
            }
            None => Ok(None),
        }
    }

    /// Remembers the layer at the top of a chain.
    pub fn set_chain(&self, chain_id: &Digest, layer: &LayerId) -> Result<(), IndexError> {
        let now = self.now();
        self.write("remember a chain", |t, generation| {
            t.prepare_cached("INSERT OR REPLACE INTO chains VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                chain_id.as_bytes(),
                layer.0.as_bytes(),
                generation,
                now
            ])?;
            Ok(())
        })
    }
}
