//! Storage that grows in pages of 1,024 places which never move.

/// Places of a page.
const PAGE: usize = 1024;

/// A place for every index, made when it is first asked for.
pub(crate) struct Paged<T> {
    pages: Vec<Box<[T]>>,
}

impl<T: Default> Paged<T> {
    pub(crate) fn new() -> Paged<T> {
        Paged { pages: Vec::new() }
    }

    /// Indexes that have a place.
    pub(crate) fn places(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.pages.get(index as usize / PAGE).map(|page| &page[index as usize % PAGE])
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.pages.get_mut(index as usize / PAGE).map(|page| &mut page[index as usize % PAGE])
    }

    /// The place of this index, which exists from now on.
    pub(crate) fn at(&mut self, index: u32) -> &mut T {
        let page = index as usize / PAGE;
        while self.pages.len() <= page {
            self.pages.push(std::iter::repeat_with(T::default).take(PAGE).collect());
        }
        &mut self.pages[page][index as usize % PAGE]
    }
}

/// Things with an index and a generation: a place is used again with the next generation. Neither growing nor emptying it moves
/// anything: a list of what is free, kept apart, would have to be copied when it grows.
pub(crate) struct Slab<T> {
    places: Paged<Place<T>>,
    /// The free place that is used next; the others follow from it.
    free: u32,
    used: u32,
}

struct Place<T> {
    generation: u32,
    /// While it is free: the free place after it.
    next: u32,
    content: Option<T>,
}

/// No place.
const NONE: u32 = u32::MAX;

impl<T> Default for Place<T> {
    fn default() -> Place<T> {
        Place { generation: 0, next: NONE, content: None }
    }
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { places: Paged::new(), free: NONE, used: 0 }
    }

    /// Things in it.
    pub(crate) fn len(&self) -> u32 {
        self.used
    }

    /// Every index is below this.
    pub(crate) fn places(&self) -> u32 {
        self.places.places()
    }

    /// Puts in what `make` makes for its index and generation; says the index.
    pub(crate) fn insert(&mut self, make: impl FnOnce(u32, u32) -> T) -> u32 {
        if self.free == NONE {
            self.add_page();
        }
        let index = self.free;
        let place = self.places.at(index);
        place.content = Some(make(index, place.generation));
        self.free = std::mem::replace(&mut place.next, NONE);
        self.used += 1;
        index
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.places.get(index)?.content.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.places.get_mut(index)?.content.as_mut()
    }

    /// Takes it out; its place gets the next generation.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let place = self.places.get_mut(index)?;
        let content = place.content.take()?;
        place.generation = place.generation.wrapping_add(1);
        place.next = std::mem::replace(&mut self.free, index);
        self.used -= 1;
        Some(content)
    }

    /// A page of free places, the first to be used first.
    fn add_page(&mut self) {
        let first = self.places.places();
        self.places.at(first);
        for index in (first..self.places.places()).rev() {
            self.places.at(index).next = std::mem::replace(&mut self.free, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_never_move() {
        let mut paged: Paged<u32> = Paged::new();
        *paged.at(0) = 7;
        let before: *const u32 = paged.get(0).unwrap();
        for index in 1..5000 {
            *paged.at(index) = index;
        }
        assert!(std::ptr::eq(before, paged.get(0).unwrap()));
        assert_eq!((paged.get(4999), paged.get(1 << 20)), (Some(&4999), None));
    }

    proptest! {
        #[test]
        fn a_slab_is_a_map_whose_keys_never_name_an_earlier_thing(
            steps in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..3000),
        ) {
            let mut slab: Slab<(u32, u32)> = Slab::new();
            let mut model: HashMap<u32, (u32, u32)> = HashMap::new();
            let mut seen = std::collections::HashSet::new();
            for (insert, pick) in steps {
                if insert {
                    let index = slab.insert(|index, generation| (index, generation));
                    let id = *slab.get(index).unwrap();
                    prop_assert!(seen.insert(id), "{id:?} was used before");
                    model.insert(index, id);
                } else if let Some(index) = model.keys().nth(usize::from(pick) % model.len().max(1)).copied() {
                    prop_assert_eq!(slab.remove(index), model.remove(&index));
                    prop_assert_eq!(slab.remove(index), None);
                }
                prop_assert_eq!(slab.len() as usize, model.len());
            }
            for (index, id) in &model {
                prop_assert!(*index < slab.places());
                prop_assert_eq!(slab.get_mut(*index), Some(&mut id.clone()));
            }
        }
    }
}
