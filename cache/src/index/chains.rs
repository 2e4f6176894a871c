//! Layers of images from outside: chain id → the layer that was unpacked on the layers below it.

use kiln_core::{ContentHash, Digest, LayerId};
use rusqlite::{OptionalExtension as _, params};

use super::{Index, IndexError};

impl Index {
    /// The layer at the top of a chain (image-spec, config.md#layer-chainid), if it is there.
    pub fn chain(&self, chain_id: &Digest) -> Result<Option<LayerId>, IndexError> {
        let found = self.read("look up a chain", |c| {
            c.prepare_cached("SELECT layer FROM chains WHERE chain = ?1")?
                .query_row([chain_id.as_bytes()], |row| Ok(LayerId(ContentHash::from_bytes(row.get(0)?))))
                .optional()
        })?;
        match found {
            Some(layer) => Ok(self.present(kiln_core::Snapshot { layers: vec![layer] })?.map(|_| layer)),
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
